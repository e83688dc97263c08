"""`sidelane advise`: how many API processes, worker processes and slots a load needs, measured or on paper."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from sidelane.admin.advice import fit_document, read_advice, step_documents, this_machine
from sidelane.admin.queue_limits import QueueLimits, queue_limits
from sidelane.cli.locate import load_lane, with_client
from sidelane.cli.options import Common, HistorySince, expand_options
from sidelane.cli.output.advice import print_advice, print_plan
from sidelane.cli.output.console import print_json, stderr, warning
from sidelane.model.durations import DAY
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.model.sizes import size_of
from sidelane.ops.advised_lines import ChangedLine, changed_lines
from sidelane.ops.description import Description, has_description, load_description
from sidelane.ops.groups import WorkerGroup
from sidelane.sizing.machines import SYSTEM_MEMORY, Machine, machine_named
from sidelane.sizing.plan import PlannedLoad, plan, rule_of_thumb

DEFAULT_SINCE = 14.0 * DAY

MAX_RUNNING = 1_000_000
"""Jobs that may run at once in a plan."""


def _positive(text: str | float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text!r}: write a number above 0, e.g. 5 or 0.2.")
    return value


def _size(text: str | int) -> int:
    if isinstance(text, int):
        return text
    try:
        return size_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _number(metavar: str, help_text: str) -> Any:
    return typer.Option(metavar=metavar, parser=_positive, help=help_text, show_default=False)


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Options that name a machine."""

    machine: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="An instance of AWS, e.g. t3.medium, m7g.large, c7i.xlarge. Default: this machine.",
            show_default=False,
        ),
    ] = None
    cores: Annotated[float | None, _number("N", "The cores of another machine; with --memory.")] = None
    memory: Annotated[
        int | None,
        typer.Option(metavar="SIZE", parser=_size, help="Its memory, e.g. 16GB; with --cores.", show_default=False),
    ] = None

    def selected(self) -> Machine:
        """Return the machine. Raises `typer.BadParameter`."""
        if self.machine is not None:
            if self.cores is not None or self.memory is not None:
                raise typer.BadParameter(
                    "--machine names cores and memory already: leave out --cores and --memory, or --machine."
                )
            try:
                return machine_named(self.machine)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint="--machine") from error
        if self.cores is not None and self.memory is not None:
            if self.memory <= SYSTEM_MEMORY:
                raise typer.BadParameter(
                    f"the operating system alone takes {SYSTEM_MEMORY // 10**6} MB: give more.", param_hint="--memory"
                )
            return Machine(name="this machine on paper", cores=self.cores, memory=self.memory)
        if self.cores is not None or self.memory is not None:
            raise typer.BadParameter("--cores and --memory belong together: give both, or --machine.")
        return this_machine()


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of a plan."""

    plan: Annotated[bool, typer.Option("--plan", help="Size a load on paper, without a store.", show_default=False)] = (
        False
    )
    rate: Annotated[float | None, _number("N", "Plan: jobs per second.")] = None
    seconds: Annotated[float | None, _number("SECONDS", "Plan: how long a job runs.")] = None
    cpu: Annotated[float | None, _number("SECONDS", "Plan: CPU time of a job. Default: it mostly waits.")] = None
    stream: Annotated[
        bool, typer.Option("--stream", help="Plan: a client follows the events of each job.", show_default=False)
    ] = False
    memory_per_process: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE", parser=_size, help="Plan: memory of a process. Default: 500MB.", show_default=False
        ),
    ] = None

    def load(self) -> PlannedLoad | None:
        """Return the load of a plan, or None without `--plan`. Raises `typer.BadParameter`."""
        options = {
            "--rate": self.rate, "--seconds": self.seconds, "--cpu": self.cpu, "--stream": self.stream or None,
            "--memory-per-process": self.memory_per_process,
        }  # fmt: skip
        if not self.plan:
            if chosen := [name for name, value in options.items() if value is not None]:
                raise typer.BadParameter(f"{chosen[0]} describes a load on paper: add --plan, or leave it out.")
            return None
        if self.rate is None or self.seconds is None:
            raise typer.BadParameter(
                "a plan needs the jobs per second and the seconds of each, e.g. --plan --rate 5 --seconds 120."
            )
        if self.cpu is not None and self.cpu > self.seconds:
            raise typer.BadParameter(
                f"a job cannot use {self.cpu:g} s of CPU within {self.seconds:g} s: give at most --seconds.",
                param_hint="--cpu",
            )
        if self.rate * self.seconds > MAX_RUNNING:
            raise typer.BadParameter(
                f"{self.rate * self.seconds:,.0f} jobs would run at once: a plan is for at most {MAX_RUNNING:,}."
            )
        return PlannedLoad(
            rate=self.rate, seconds=self.seconds, stream=self.stream, cpu=self.cpu, memory=self.memory_per_process
        )


@expand_options
def advise(
    *, since: HistorySince = None, plan_options: PlanOptions, machine_options: MachineOptions, common: Common
) -> None:
    """Recommend how many API processes, worker processes and slots the load needs, with the arithmetic.

    The load is what was measured since a time, by default in the last 14 days, at its busiest. With --plan it is a load on paper.
    If the current folder describes a service, the lines to change are printed too. Nothing is changed.
    """
    load, machine = plan_options.load(), machine_options.selected()
    if load is None:
        _advise(since or DEFAULT_SINCE, machine, common)
        return
    if since is not None:
        raise typer.BadParameter("a plan has no history: leave out --since, or --plan.")
    fit, rule = plan(load, machine), rule_of_thumb(load, machine)
    if common.as_json:
        print_json({**fit_document(fit), "rule_of_thumb": step_documents(rule)})
    else:
        print_plan(fit, rule)


def _advise(seconds: float, machine: Machine, common: Common) -> None:
    settings, description = common.settings(), _description()
    limits = _limits(common.lane, settings, description)
    advice = with_client(settings, lambda client: read_advice(client.store, seconds, machine, limits))
    changed = changed_lines(description, advice.services) if description is not None else []
    if common.as_json:
        print_json({**advice.document(), "changes": _documents(changed)})
    else:
        print_advice(advice, changed, description.file if description is not None else None)


def _description() -> Description | None:
    """Return the description of the service in the current folder, if there is one that can be read."""
    try:
        return load_description(Path.cwd()) if has_description(Path.cwd()) else None
    except ConfigurationError as error:
        stderr().print(warning(f"the description of the service is left out: {error}"))
        return None


def _limits(lane: str | None, settings: Settings, description: Description | None) -> Mapping[str, QueueLimits]:
    """Return what the lane's queues limit, or nothing if no lane is named or it cannot be imported."""
    groups = description.groups.values() if description is not None else ()
    reference = lane or settings.lane or next((each.lane for each in groups if isinstance(each, WorkerGroup)), None)
    if not reference:
        return {}
    try:
        return queue_limits(load_lane(reference))
    except ConfigurationError as error:
        stderr().print(warning(f"limits of queues are left out: {error}"))
        return {}


def _documents(changed: list[ChangedLine]) -> list[dict[str, str]]:
    return [{"table": each.table, "key": each.key, "value": each.value, "now": each.now} for each in changed]
