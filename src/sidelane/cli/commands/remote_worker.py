"""`sidelane remote-worker`: run a worker on a machine without access to the store, over messages."""

from dataclasses import dataclass
from typing import Annotated

import typer

from sidelane.app import Sidelane
from sidelane.cli.locate import load_lane
from sidelane.cli.options import Concurrency, LogLevel, WorkersLane, level_of, log_options
from sidelane.cli.worker_main import run_and_exit, run_worker, task_names
from sidelane.processes.logs import log_to_stderr
from sidelane.tasks.job_log_filter import JobLogFilter
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWorkerOptions:
    """Command-line options of a remote worker."""

    receive_from: Endpoint
    reply_to: Endpoint
    name: str
    concurrency: int | None


def remote_worker(
    *,
    lane: WorkersLane = None,
    receive_from: Annotated[
        str,
        typer.Option(metavar="ENDPOINT", help="Where to receive jobs, e.g. sqs://jobs.", show_default=False),
    ],
    reply_to: Annotated[
        str,
        typer.Option(
            metavar="ENDPOINT", help="Where to send events and results, e.g. sqs://results.", show_default=False
        ),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of this worker in logs.")] = "remote-worker",
    concurrency: Concurrency = None,
    log_level: LogLevel = None,
    ctx: typer.Context,
) -> None:
    """Run jobs that arrive as messages, without a store, until a signal stops the worker.

    SIGTERM or Ctrl-C: drain. The worker receives no more jobs, waits for the running ones (the setting `shutdown_timeout`)
    and releases the rest. The same signal again, or SIGQUIT: release all running jobs at once.
    """
    options = RemoteWorkerOptions(
        receive_from=parse(receive_from), reply_to=parse(reply_to), name=name, concurrency=concurrency
    )
    log_to_stderr(log_options(name, level_of(log_level)), JobLogFilter())
    loaded = load_lane(lane)
    debug = bool(ctx.find_root().params.get("debug"))
    run_and_exit(lambda: _run(loaded, options), debug=debug)


async def _run(lane: Sidelane, options: RemoteWorkerOptions) -> None:
    async with lane.remote_worker(
        receive_from=options.receive_from,
        reply_to=options.reply_to,
        name=options.name,
        concurrency=options.concurrency,
        exit_when_stuck=True,
    ) as worker:
        facts = {
            "receive from": f"{options.receive_from}, concurrency {worker.info().slots}",
            "reply to": str(options.reply_to),
            "tasks": task_names(worker),
        }
        await run_worker(worker, facts)
