"""All benchmarks: `make bench`; `make bench QUICK=1` for a short run; `make bench ARGS="drain --only arq,saq"` for some of them.

Within a round the contestants run one after another, so that noise of the machine affects all of them. Figures are stored in
`benchmarks/results/`; `python -m benchmarks.page` writes them into docs/performance.md.
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

from benchmarks.contestants import CONTESTANTS, Contestant, ContestantFailed, new_trial
from benchmarks.measured import Measured, store
from benchmarks.report import print_bars, print_contestants, print_machine, print_table
from benchmarks.workload import Workload, slow_bars
from benchmarks.workloads.all import WORKLOADS

RESULTS = Path(__file__).parent / "results"


@contextmanager
def exclusive(lock: Path | None) -> Iterator[None]:
    """Lock a file during a measurement, if the machine is shared with other measurements."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def one_round(workload: Workload, contestant: Contestant, measured: Measured, quick: bool) -> None:
    """Measure one contestant once, unless an earlier round failed or took too long."""
    if measured.failed or measured.seconds > workload.long:
        return
    began = time.monotonic()
    try:
        with new_trial(contestant) as trial:
            figures = workload.measure(trial, quick)
            if trial.server is not None:
                figures["slowest"], figures["slow"] = trial.server.slowest()
            measured.rounds.append(figures)
    except ContestantFailed as failure:
        measured.failed = str(failure)
        print(f"\n  {contestant.name} failed: {failure}", file=sys.stderr, flush=True)
    measured.seconds = time.monotonic() - began


def run(
    workload: Workload, contestants: Sequence[Contestant], *, rounds: int, quick: bool, lock: Path | None
) -> dict[str, Measured]:
    """Measure one workload for all rounds."""
    results = {each.name: Measured() for each in contestants}
    for number in range(rounds):
        for first in range(0, len(contestants), workload.together):
            show_status(f"{workload.title}: round {number + 1} of {rounds}, {first} of {len(contestants)}")
            group = contestants[first : first + workload.together]
            with exclusive(lock), ThreadPoolExecutor(workload.together) as pool:
                for future in [pool.submit(one_round, workload, each, results[each.name], quick) for each in group]:
                    future.result()
    show_status("")
    return results


def show_status(text: str) -> None:
    """Show the progress on a terminal, in place of the last one."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--rounds", type=int, help="number of rounds; the default is five")
    parser.add_argument("--lock", type=Path, help="file to lock during each measurement")
    arguments = parser.parse_args()
    if unknown := set(arguments.workloads) - set(WORKLOADS):
        parser.error(f"there is no {', '.join(unknown)}; there is {', '.join(WORKLOADS)}")
    names = [each.name for each in CONTESTANTS]
    only = arguments.only.split(",") if arguments.only else names
    if unknown := set(only) - set(names):
        parser.error(f"there is no contestant {', '.join(unknown)}; there is {', '.join(names)}")
    path = RESULTS / ("quick.json" if arguments.quick else "some.json" if arguments.only else "latest.json")
    chosen = [each for each in CONTESTANTS if each.name in only]
    print_machine()
    missed = 0
    participants: dict[Contestant, None] = {}  # in order, each once
    for workload in [WORKLOADS[name] for name in arguments.workloads] or WORKLOADS.values():
        contestants = [
            each for each in chosen if workload.takes_part(each) and (not arguments.quick or workload.quick(each))
        ]
        rounds = arguments.rounds or (1 if arguments.quick else workload.rounds)
        participants |= dict.fromkeys(contestants)
        results = run(workload, contestants, rounds=rounds, quick=arguments.quick, lock=arguments.lock)
        bars = [*workload.bars(results), *slow_bars(results)]
        print_table(workload, results)
        missed += print_bars(bars)
        store(path, contestants, workload.name, {
            "title": workload.title,
            "rounds": rounds,
            "contestants": {name: measured.as_json() for name, measured in results.items()},
            "bars": [vars(bar) for bar in bars],
        })  # fmt: skip
    print_contestants(list(participants))
    print(f"\nStored in {path}; targets missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
