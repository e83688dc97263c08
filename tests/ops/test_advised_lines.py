"""Lines to change in the description of a service, so that its groups are as advised."""

from pathlib import Path

import pytest

from sidelane.admin.advice import ServiceAdvice
from sidelane.ops.advised_lines import ChangedLine, changed_lines
from sidelane.ops.description import Description, load_description
from sidelane.sizing.services import Kind, ServiceSize

DESCRIPTION = """
[api.web]
app = "main:app"

[worker.chat]
lane = "main:lane"
processes = 4
concurrency = 100

[worker.mixed]
lane = "main:lane"
queues = ["mail=2", "report"]

[worker.audio]
lane = "main:lane"
autoscale = "1..4"
concurrency = 1
"""


@pytest.fixture
def description(tmp_path: Path) -> Description:
    tmp_path.joinpath("sidelane.toml").write_text(DESCRIPTION)
    return load_description(tmp_path)


def advised(
    name: str, processes: int, slots: int = 0, busiest: float | None = 1.0, **queue_slots: int
) -> ServiceAdvice:
    size = ServiceSize(
        name=name, kind=Kind.WORKER if slots else Kind.API, processes=processes, cores=0.1, memory=1, capacity=None,
        slots=slots, queue_slots=queue_slots,
    )  # fmt: skip
    return ServiceAdvice(size=size, processes=1, slots=0, busiest=busiest)


def test_only_what_differs_is_changed(description: Description) -> None:
    assert changed_lines(description, [advised("api", 2), advised("chat", 4, 40, chat=40)]) == [
        ChangedLine("api.web", "processes", "2", "1, the default"),
        ChangedLine("worker.chat", "concurrency", "40", "100"),
    ]


def test_queues_with_slots_keep_the_others(description: Description) -> None:
    (line,) = changed_lines(description, [advised("mixed", 1, 9, mail=8)])
    assert (line.key, line.value, line.now) == ("queues", '["mail=8", "report"]', '["mail=2", "report"]')


def test_group_that_follows_the_load_changes_only_if_its_bounds_are_too_narrow(description: Description) -> None:
    assert changed_lines(description, [advised("audio", 3, 1)]) == []
    assert changed_lines(description, [advised("audio", 6, 1)]) == [
        ChangedLine("worker.audio", "autoscale", '"1..6"', '"1..4"')
    ]


def test_service_without_measurements_or_description_changes_nothing(description: Description) -> None:
    assert changed_lines(description, [advised("chat", 9, 9, busiest=None), advised("other", 9, 9)]) == []


def test_several_api_groups_are_not_told_apart(tmp_path: Path) -> None:
    text = f'{DESCRIPTION}\n[api.heavy]\napp = "main:app"\nport = 8001\n'
    tmp_path.joinpath("sidelane.toml").write_text(text)
    assert changed_lines(load_description(tmp_path), [advised("api", 5)]) == []
