"""`sidelane serve`: a worker on a machine without access to the store, which takes offers as messages and sends replies."""

from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane.app import Sidelane
from sidelane.cli.locate import load_lane
from sidelane.cli.options import Concurrency, LogLevel, WorkersLane, level_of
from sidelane.cli.output.logs import log_to_stderr
from sidelane.cli.worker_main import run_and_exit, run_worker, tasks_of
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line asks of a worker that serves offers."""

    offers: Endpoint
    replies: Endpoint
    name: str
    concurrency: int | None


def serve(
    *,
    lane: WorkersLane = None,
    offers: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where offers of jobs come from, as in sqs://offers.", show_default=False),
    ],
    replies: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where events and results go, as in sqs://results.", show_default=False),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call this worker in logs.")] = "serve",
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    ctx: typer.Context,
) -> None:
    """Run jobs that are handed over as messages, until told to stop; no store is needed.

    SIGTERM or Ctrl-C: take no more offers, let the running jobs finish for a while (the setting `drain`), give the rest back.
    The same again, or SIGQUIT: give everything back at once.
    """
    plan = Plan(offers=parse(offers), replies=parse(replies), name=name, concurrency=concurrency)
    log_to_stderr(name, level_of(log_level))
    found = load_lane(lane)
    debug = bool(ctx.find_root().params.get("debug"))
    run_and_exit(lambda: _serve(found, plan), debug=debug)


async def _serve(lane: Sidelane, plan: Plan) -> None:
    async with lane.remote_worker(
        receive_from=plan.offers,
        reply_to=plan.replies,
        name=plan.name,
        concurrency=plan.concurrency,
        exit_when_stuck=True,
    ) as made:
        slots = f", {made.info().slots} at once"
        facts = {"offers": f"{plan.offers}{slots}", "replies": str(plan.replies), "tasks": tasks_of(made)}
        await run_worker(made, facts)
