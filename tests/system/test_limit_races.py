"""Processes race for a limit of three, and never exceed it."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from sidelane import State
from sidelane.model.limit import OnLimit
from tests.system.limit_racers import LIMIT
from tests.system.process_scenario import ProcessScenario
from tests.system.store_urls import ON_BOTH_STORES

FEW = (20, 200)

MANY = (50, 10_000)
"""Processes, and submissions of all of them: `make test ARGS="-m soak tests/system/test_limit_races.py"` for the many."""


@ON_BOTH_STORES
@pytest.mark.parametrize("on_limit", ["wait", "reject", "replace"])
@pytest.mark.parametrize(
    ("racers", "submissions"),
    [
        FEW,
        pytest.param(*MANY, marks=[pytest.mark.soak, pytest.mark.timeout(1200)]),
    ],
)
async def test_racing_processes_never_exceed_a_limit(
    scenario: ProcessScenario, tmp_path: Path, on_limit: OnLimit, racers: int, submissions: int,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    settings = (scenario.processes.store, str(tmp_path), on_limit, str(racers), str(submissions // racers))
    race = scenario.processes.python("race", "tests.system.limit_racers", *settings)
    seen = Counter[tuple[int, int]]()  # what the limit says of itself, and what its queue says
    while not race.exited:
        counted = sum(limit.used for limit in await scenario.store.limits())
        queues = await scenario.store.stats()
        seen[counted, sum(queue.running + queue.queued * (on_limit == "reject") for queue in queues)] += 1
        await asyncio.sleep(0.02)
    assert race.status == 0

    lines = written(tmp_path)
    submitted = [line["submitted"] for line in lines if "submitted" in line]
    spans = [line for line in lines if "held" in line]
    assert len(set(submitted)) == submissions
    assert max(Counter((span["held"], span["attempt"]) for span in spans).values()) == 1
    assert most_at_once(spans) == LIMIT, "never four, and three there were"
    assert max(held for held, _ in seen) == LIMIT
    assert max(found for _, found in seen) == LIMIT

    taken = [line["submitted"] for line in lines if line.get("taken")]
    ended = Counter([record.state for record in await scenario.records(taken)])
    assert ended.keys() <= {State.SUCCEEDED, State.CANCELLED if on_limit == "replace" else State.SUCCEEDED}
    assert await scenario.store.limits() == [], "nothing is held when nothing is left"
    figures = {"submissions": len(submitted), "taken": len(taken), "held": len(spans), "looks inside": seen.total()}
    figures |= {str(state): count for state, count in ended.items()}
    record_property(f"limit_race_{on_limit}", figures)
    print(figures)


def written(folder: Path) -> list[dict[str, Any]]:
    """Read what the racers have written down."""
    return [json.loads(line) for book in folder.glob("racer*.jsonl") for line in book.read_text().splitlines()]


def most_at_once(spans: Iterable[dict[str, Any]]) -> int:
    """Return how many time spans overlap at most; one that ends when another begins does not overlap it."""
    turns = [turn for span in spans for turn in ((span["since"], 1), (span["until"], -1))]
    return max(accumulate(change for _, change in sorted(turns)))
