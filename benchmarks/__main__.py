"""Every benchmark: `make bench`; `make bench QUICK=1` for a short one; `make bench ARGS="drain --only arq,saq"` for parts.

Contestants take turns within a round, so that the machine's moods meet all of them alike. What was measured is kept as JSON in
`benchmarks/results/`; `python -m benchmarks.page` makes docs/performance.md of it.
"""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, Contestant, ContestantFailed, arena_of
from benchmarks.measured import Measured, keep
from benchmarks.report import print_bars, print_contestants, print_head, print_table
from benchmarks.workload import Workload, slow_bars
from benchmarks.workloads.all import WORKLOADS

RESULTS = Path(__file__).parent / "results"


@contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """Hold a lock file during a measurement, on a machine that others measure on too."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def one_round(workload: Workload, contestant: Contestant, measured: Measured, quick: bool) -> None:
    """Let one contestant go once; one that has failed does not go again, nor does one that takes long."""
    if measured.failed or measured.seconds > workload.long:
        return
    began = time.monotonic()
    try:
        with arena_of(contestant) as arena:
            figures = workload.measure(arena, quick)
            if arena.server is not None:
                figures["slowest"], figures["slow"] = arena.server.slowest()
            measured.rounds.append(figures)
    except ContestantFailed as failure:
        measured.failed = str(failure)
        print(f"\n  {contestant.name} failed: {failure}", file=sys.stderr, flush=True)
    measured.seconds = time.monotonic() - began


def run(
    workload: Workload, contestants: Sequence[Contestant], *, rounds: int, quick: bool, lock: Path | None
) -> dict[str, Measured]:
    """Measure one workload, round by round."""
    results = {each.name: Measured() for each in contestants}
    for number in range(rounds):
        for first in range(0, len(contestants), workload.together):
            say(f"{workload.title}: round {number + 1} of {rounds}, {first} of {len(contestants)}")
            now = contestants[first : first + workload.together]
            with alone(lock), ThreadPoolExecutor(workload.together) as pool:
                for go in [pool.submit(one_round, workload, each, results[each.name], quick) for each in now]:
                    go.result()
    say("")
    return results


def say(text: str) -> None:
    """Show on a terminal how far we are, in place of what stood there."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--rounds", type=int, help="instead of five")
    parser.add_argument("--lock", type=Path, help="a file to lock during each measurement")
    arguments = parser.parse_args()
    if unknown := set(arguments.workloads) - set(WORKLOADS):
        parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(WORKLOADS)}")
    names = [each.name for each in CONTESTANTS]
    only = arguments.only.split(",") if arguments.only else names
    if unknown := set(only) - set(names):
        parser.error(f"nobody is called {', '.join(unknown)}; there is {', '.join(names)}")
    kept = RESULTS / ("quick.json" if arguments.quick else "some.json" if arguments.only else "latest.json")
    chosen = [each for each in CONTESTANTS if each.name in only]
    print_head()
    missed = 0
    took_part: dict[Contestant, None] = {}  # in order, each once
    for workload in [WORKLOADS[name] for name in arguments.workloads] or WORKLOADS.values():
        contestants = [
            each for each in chosen if workload.takes_part(each) and (not arguments.quick or workload.quick(each))
        ]
        rounds = arguments.rounds or (1 if arguments.quick else workload.rounds)
        took_part |= dict.fromkeys(contestants)
        results = run(workload, contestants, rounds=rounds, quick=arguments.quick, lock=arguments.lock)
        bars = [*workload.bars(results), *slow_bars(results)]
        print_table(workload, results)
        missed += print_bars(bars)
        keep(kept, contestants, workload.name, {
            "title": workload.title,
            "rounds": rounds,
            "contestants": {name: measured.as_json() for name, measured in results.items()},
            "bars": [vars(bar) for bar in bars],
        })  # fmt: skip
    print_contestants(list(took_part))
    print(f"\nKept in {kept}; bars missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
