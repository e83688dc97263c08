"""Autoscaled groups: their description and program, and a whole service that follows its load."""

import json
import shlex
from pathlib import Path

import pytest

from sidelane.admin.scaling import read_scalings
from sidelane.model.errors import ConfigurationError, UnknownGroup
from sidelane.model.history import Count
from sidelane.model.job import JobSpec
from sidelane.ops.autoscaled_groups import service_programs, with_autoscale
from sidelane.ops.selection import select
from tests.cli.command import run
from tests.cli.project import CliProcess
from tests.ops.descriptions import load
from tests.ops.service import Service, wait_until

STATE = Path("/state")

GROUPS = """
[api.web]
app = "main:app"

[worker.chat]
lane = "main:app"
autoscale = "2..8"

[worker.mail]
lane = "main:app"
environment = { SIDELANE_STORE = "redis://mail" }
"""


LANE = """
import asyncio
from sidelane import Queue, Sidelane

lane = Sidelane(queues=[Queue("slow", target_wait=2)])

@lane.task(queue="slow")
async def wait() -> None:
    await asyncio.sleep(1)
"""


def test_the_program_that_decides_starts_after_the_groups(tmp_path: Path) -> None:
    *groups, autoscaler = service_programs(load(tmp_path, GROUPS), STATE)
    assert [each.name for each in groups] == ["web", "chat", "mail"]
    assert shlex.join(autoscaler.command) == (
        "sidelane run --name autoscale --stop-first -- sidelane autoscale chat=2..8 --state-dir /state"
    )
    assert autoscaler.depends_on == ("chat",)
    chat = next(each for each in groups if each.name == "chat")
    assert (chat.processes, chat.autoscaled) == (2, True)


def test_nothing_decides_without_an_autoscaled_group(tmp_path: Path) -> None:
    description = load(tmp_path, GROUPS.replace('autoscale = "2..8"', ""))
    assert [each.name for each in service_programs(description, STATE)] == ["web", "chat", "mail"]


def test_bounds_of_the_command_line_replace_those_of_the_description(tmp_path: Path) -> None:
    description = with_autoscale(load(tmp_path, GROUPS), {"chat": "1..4", "mail": "3..4"})
    assert {name: getattr(group, "autoscale", None) for name, group in description.groups.items()} == {
        "web": None, "chat": "1..4", "mail": "3..4",
    }  # fmt: skip


def test_a_group_that_is_started_by_name_brings_the_autoscaler(tmp_path: Path) -> None:
    programs = service_programs(load(tmp_path, GROUPS), STATE)
    assert [each.name for each in select(programs, ["chat"])] == ["chat", "autoscale"]
    assert [each.name for each in select(programs, ["mail"])] == ["mail"]


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ({"chta": "1..2"}, UnknownGroup, "Did you mean 'chat'?"),
        ({"web": "1..2"}, ConfigurationError, "only worker groups are autoscaled, and web is of the kind 'api'"),
        ({"chat": "3..2"}, ConfigurationError, "the least is more than the most; write 2..3"),
    ],
)
def test_bounds_that_cannot_be_are_one_sentence(
    tmp_path: Path, bounds: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        with_autoscale(load(tmp_path, GROUPS), bounds)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["chat", "=1..2", "chat=0..2", "chat=many"])
def test_up_and_autoscale_refuse_what_are_no_bounds(tmp_path: Path, text: str) -> None:
    for command in (["up", "--autoscale", text], ["autoscale", text]):
        refused = run(*command)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.stderr


@pytest.mark.row("R18")
@pytest.mark.long
@pytest.mark.system
def test_a_service_follows_its_load_and_yields_to_a_pinned_number(service: Service, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "slow.py").write_text(LANE)
    environment = f'environment = {{ PYTHONPATH = "{service.environment["PYTHONPATH"]}" }}'
    (tmp_path / "sidelane.toml").write_text(f'{environment}\n[worker.slow]\nlane = "slow:lane"\nconcurrency = 2\n')

    def sidelane(*arguments: str) -> CliProcess:
        process = CliProcess(arguments, tmp_path, tmp_path / f"output-{arguments[0]}")
        process.exit_code()
        return process

    def group() -> dict[str, object]:
        found = {each["name"]: each for each in service.status().document["groups"]}
        return dict(found["slow"])

    assert sidelane("up", "--autoscale", "slow=1..3").exit_code() == 0
    specs = [JobSpec(id=f"job-{number}", task="wait", queue="slow") for number in range(40)]
    service.store.call(lambda store: store.submit(specs))
    wait_until(lambda: group()["target"] == 3, "more processes for the backlog")
    wait_until(lambda: group()["ready"] == 3, "that they are ready")
    changes = service.store.call(lambda store: read_scalings(store, 10))
    assert changes[-1].before == 1
    assert changes[0].after == 3
    assert "slow: " in changes[0].reason

    assert sidelane("scale", "slow=1").exit_code() == 0
    assert group()["pinned"]
    shown = json.loads(sidelane("scale", "--json").output)
    assert [(each["name"], each["target"], each["pinned"]) for each in shown["groups"]] == [("slow", 1, True)]
    assert [each["after"] for each in shown["changes"]] == [each.after for each in changes]
    assert sidelane("scale", "slow=auto").exit_code() == 0
    assert not group()["pinned"]

    assert not any(cell.counts.get(Count.LOST) for cell in service.store.call(lambda store: store.totals()))
    assert sidelane("down").exit_code() == 0
    assert service.left() == []
