"""`sidelane run`: keep any program running, e.g. a model server, with a check that it is ready."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.group_options import ParentFlags, duration_option, parent_options
from sidelane.cli.options import LogLevel, expand_options, level_of
from sidelane.model.errors import ConfigurationError
from sidelane.processes.group_main import become_parent
from sidelane.processes.ready_check import ReadyCheck


@expand_options
def run(
    program: Annotated[list[str], typer.Argument(metavar="-- PROGRAM...", help="The program and its arguments.")],
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the program in logs and lists.")] = "program",
    ready_http: Annotated[
        str | None,
        typer.Option(metavar="URL", help="It is ready when this http:// URL answers.", show_default=False),
    ] = None,
    ready_tcp: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="It is ready when this port accepts a connection.", show_default=False),
    ] = None,
    ready_log: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="It is ready when a line of its output has this text.", show_default=False),
    ] = None,
    ready_delay: Annotated[
        float | None,
        typer.Option(
            parser=duration_option, metavar="DURATION", help="It is ready after this time.", show_default=False
        ),
    ] = None,
    flags: ParentFlags,
    log_level: LogLevel = None,
) -> None:
    """Keep a program running: restart it when it exits, and report whether it is ready.

    The program must stay in the foreground and exit on SIGTERM. It is searched first in the folder of `sidelane` itself.
    """
    if sum(check is not None for check in (ready_http, ready_tcp, ready_log, ready_delay)) > 1:
        raise typer.BadParameter("Name one check: --ready-http, --ready-tcp, --ready-log or --ready-delay.")
    # so that `python` is that of this environment also if it is not activated
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if shutil.which(program[0]) is None:
        raise ConfigurationError(f"The program {program[0]!r} was not found. Check the spelling and PATH.")
    check = ReadyCheck(http=_url(ready_http), tcp=_address(ready_tcp), log=ready_log, delay=ready_delay)
    options = parent_options(
        "command", name, program, flags, ready=check, stop_first=True, log_level=level_of(log_level)
    )
    become_parent(options)


def _url(text: str | None) -> str | None:
    if text is not None and not text.startswith("http://"):
        raise typer.BadParameter(f"{text!r}: write a URL that begins with http://.", param_hint="--ready-http")
    return text


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{text!r}: write HOST:PORT, e.g. 127.0.0.1:6379.", param_hint="--ready-tcp")
    return host.strip("[]"), int(port)
