"""One process of `sidelane dev`: restarted when the code changes, or when it died after running a while."""

import math
from collections.abc import Sequence

from sidelane.cli.output.prefixed import SELF, PrefixedOutput
from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import Exit, describe_exit
from sidelane.processes.supervisor import SupervisedProcess

EARLY_EXIT = 3.0
"""Seconds. A process that exits sooner, or with a configuration error, is not started again before the code changes."""

RESTART_DELAY = 1.0
"""Seconds before a process that died is started again."""


def dev_process(
    name: str, arguments: Sequence[str], stop_signal: int, terminal: PrefixedOutput, files: Sequence[int] = ()
) -> SupervisedProcess:
    """Return a `sidelane` command under supervision, which writes to the terminal; `files` are descriptors that it inherits."""

    def restart_delay(status: int, seconds: float) -> float:
        if seconds > EARLY_EXIT and status != Exit.CONFIGURATION:
            terminal.say(SELF, f"{name} died ({describe_exit(status)}); it starts again")
            return RESTART_DELAY
        terminal.say(SELF, f"{name} ended ({describe_exit(status)}); it starts again when the code changes")
        return math.inf

    child = CliProcess(
        name, arguments, environment=terminal.environment, on_line=lambda line: terminal.say(name, line), files=files
    )
    return SupervisedProcess(child, restart_delay, stop_signal=stop_signal)
