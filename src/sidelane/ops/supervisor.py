"""supervisord: its configuration, its start, and requests to it over its Unix socket."""

import contextlib
import http.client
import importlib.util
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import xmlrpc.client  # nosec B411 - its only peer is our own supervisord, over a socket that only this user may open
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidelane.model.errors import ConfigurationError, MissingExtra, NoSupervisor, SupervisorError
from sidelane.ops.programs import Program
from sidelane.ops.state import MARKER, StateDirectory
from sidelane.processes.child import SIDELANE, signal_on_parent_exit
from sidelane.processes.exit_code import Exit

RPC_TIMEOUT = 5.0
"""Seconds for an answer of supervisord, which answers within one turn of its loop."""

START_TIMEOUT = 30.0

DEFAULT_STOP_TIMEOUT = 3600.0
"""Seconds until supervisord kills a parent that does not stop. The parent itself ends earlier, so this is the last resort."""

ENDED_FOR_GOOD = (Exit.DONE, Exit.USAGE, Exit.CONFIGURATION, Exit.GAVE_UP)
"""Exit codes of a parent that would end in the same way again. supervisord does not start it again."""

MIN_FILES = 16_384
"""Open files that supervisord and all below it may have, if the hard limit allows it. More would slow down each start."""

BAD_NAME, NOT_RUNNING, ALREADY_STARTED, SHUTTING_DOWN = 10, 70, 60, 6
"""Faults of supervisord's interface."""

LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """When a log file is rotated: its size in megabytes (0: never), and how many old files are kept."""

    megabytes: int = 10
    backups: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """One program as supervisord sees it. `state` is a name of supervisord: STOPPED, RUNNING, STOPPING, EXITED, FATAL, ..."""

    name: str
    state: str
    pid: int
    started: float
    stopped: float
    exit_status: int
    error: str

    @property
    def ended(self) -> bool:
        """Whether the program is not started again by supervisord."""
        if self.state == "EXITED":
            return self.exit_status in ENDED_FOR_GOOD
        return self.state in {"STOPPED", "FATAL", "UNKNOWN"}

    @property
    def running(self) -> bool:
        """Whether the program runs or is about to, and was not asked to stop."""
        return not self.ended and self.state != "STOPPING"


def launch_document(state: StateDirectory, program: Program, output: Path | None = None) -> str:
    """Return the JSON text that `launch.py` reads. `output` is where the program writes instead of to supervisord."""
    arguments = list(program.command)
    if arguments[0] == "sidelane":
        arguments[:1] = SIDELANE
    separator = arguments.index("--") if "--" in arguments else len(arguments)
    arguments[separator:separator] = [
        "--control", str(state.control_socket(program.name)), "--scale-file", str(state.scale_file(program.name)),
        "--with-supervisor",
    ]  # fmt: skip
    document = {
        "name": program.name,
        "arguments": arguments,
        "directory": str(program.directory),
        "environment": dict(program.environment),
        "output": None if output is None else str(output),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def configuration_text(
    state: StateDirectory, programs: Sequence[Program], levels: Mapping[str, int], limits: LogLimits
) -> str:
    """Return supervisord's configuration. `levels` maps each program to its order: the highest is stopped first."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = MIN_FILES if hard == resource.RLIM_INFINITY else min(hard, MIN_FILES)
    socket_file = "supervisord.sock" if state.moved_sockets is None else _value(str(state.supervisor_socket))
    parts = [
        "; Written by `sidelane up`, which overwrites changes. Paths are relative to this folder.",
        "[unix_http_server]",
        f"file={socket_file}",
        "chmod=0700",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "",
        "[supervisord]",
        "logfile=supervisord.log",
        "logfile_maxbytes=1MB",
        "logfile_backups=1",
        "pidfile=supervisord.pid",
        "silent=true",
        "nocleanup=true",
        f"minfds={files}",
        "minprocs=1",
        f"umask={_umask():03o}",
    ]
    if os.geteuid() == 0:
        parts.append("user=0")
    for program in sorted(programs, key=lambda each: (levels[each.name], each.name)):
        parts += ["", *_program_section(program, levels[program.name], limits)]
    return "\n".join(parts) + "\n"


def _program_section(program: Program, level: int, limits: LogLimits) -> Iterator[str]:
    """Yield the lines of one program.

    With `startsecs` above 0, supervisord would start a parent again that ends at once with an expected exit code.
    """
    launch = [sys.executable, "-I", "-S", str(LAUNCH), f"run/{program.name}.json"]
    yield f"; {printable_command(program.command)}"
    yield f"[program:{program.name}]"
    yield f"command={' '.join(_quoted(each) for each in launch)}"
    yield f"priority={level}"
    yield "autostart=false"
    yield "autorestart=unexpected"
    yield f"exitcodes={','.join(str(int(each)) for each in ENDED_FOR_GOOD)}"
    yield "startsecs=0"
    yield "startretries=3"
    yield "stopsignal=TERM"
    yield f"stopwaitsecs={round(program.stop_timeout or DEFAULT_STOP_TIMEOUT)}"
    yield "stopasgroup=false"
    yield "killasgroup=false"
    yield "redirect_stderr=true"
    yield f"stdout_logfile=logs/{program.name}.log"
    yield f"stdout_logfile_maxbytes={limits.megabytes}MB"
    yield f"stdout_logfile_backups={limits.backups}"


def printable_command(command: Sequence[str]) -> str:
    """Return a command as a shell would read it, on one line."""
    return re.sub(r"\s+", " ", shlex.join(command))


def _quoted(argument: str) -> str:
    """Return an argument for a `command` of supervisord, in which ` ;` and ` #` would begin a comment."""
    return _value(re.sub(r"[;#]", lambda found: f"'\\{found[0]}'", shlex.quote(argument)))


def _value(text: str) -> str:
    return text.replace("%", "%%")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_installed() -> None:
    """Raise `MissingExtra` if supervisor is not installed."""
    if importlib.util.find_spec("supervisor") is None:
        raise MissingExtra("`sidelane up` needs the package supervisor: run pip install 'sidelane[ops]'.")


COMMAND = [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
"""Starts supervisord in the state directory."""


def start_supervisor(state: StateDirectory) -> None:
    """Start supervisord as a daemon, which answers when this returns. Raises `ConfigurationError` if it does not start."""
    check_installed()
    try:
        done = subprocess.run(  # noqa: S603 - no text of others is in it
            COMMAND, cwd=state.path, env=_environment(state), stdin=subprocess.DEVNULL, text=True, timeout=START_TIMEOUT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"The supervisor did not start within {START_TIMEOUT:g} s. Its log is {state.supervisor_log}."
        ) from error
    if done.returncode:
        raise ConfigurationError(f"The supervisor did not start: {_last_lines(done.stdout)}")


def start_in_foreground(state: StateDirectory) -> "subprocess.Popen[str]":
    """Start supervisord as a child of this process, with which it ends."""
    check_installed()
    return subprocess.Popen(  # noqa: S603 - no text of others is in it
        [*COMMAND, "--nodaemon"], cwd=state.path, env=_environment(state), stdin=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal_on_parent_exit(signal.SIGTERM),  # noqa: PLW1509 - no other thread runs yet
    )  # fmt: skip


def _environment(state: StateDirectory) -> dict[str, str]:
    """Return the environment of supervisord. `supervisorctl` in one of the programs is not meant for this supervisor."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    return {**inherited, MARKER: str(state.path)}


def _last_lines(output: str) -> str:
    """Return the reason that supervisord printed, without its usage text."""
    lines = [line for line in output.strip().splitlines() if line and not line.startswith("For help")]
    return " ".join(lines[-3:]).removeprefix("Error: ") or "it printed no reason."


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # `close` closes it, after an error too
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path, self._timeout = path, timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _Connection(self._path, self._timeout)
        self._connection = host, connection  # what `close` closes
        return connection


class SupervisorClient:
    """Requests to supervisord. Each raises `NoSupervisor` if none runs, and `SupervisorError` with the reason of a refusal."""

    def __init__(self, state: StateDirectory, *, timeout: float = RPC_TIMEOUT) -> None:
        self._state = state
        self._timeout = timeout

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def programs(self) -> dict[str, ProcessInfo]:
        """Return every program by its name."""
        return {
            each["name"]: ProcessInfo(
                name=each["name"],
                state=each["statename"],
                pid=each["pid"],
                started=each["start"],
                stopped=each["stop"],
                exit_status=each["exitstatus"],
                error=each["spawnerr"],
            )
            for each in self._call("supervisor.getAllProcessInfo")
        }

    def levels(self) -> dict[str, int]:
        """Return the order of each program: the highest is stopped first."""
        return {each["name"]: int(each["group_prio"]) for each in self._call("supervisor.getAllConfigInfo")}

    def reload(self) -> tuple[list[str], list[str], list[str]]:
        """Read the configuration file again. Return the names of programs that were added, changed and removed."""
        added, changed, removed = self._call("supervisor.reloadConfig")[0]
        return added, changed, removed

    def add(self, name: str) -> None:
        self._call("supervisor.addProcessGroup", name)

    def remove(self, name: str) -> None:
        """Forget a program that has stopped."""
        self._call("supervisor.removeProcessGroup", name)

    def start(self, name: str) -> None:
        """Start a program, without waiting until it is ready."""
        self._call("supervisor.startProcess", name, False, ignore=ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """Ask a program to stop, without waiting for its end."""
        self._call("supervisor.stopProcess", name, False, ignore=NOT_RUNNING)

    def signal(self, name: str, number: int) -> None:
        self._call("supervisor.signalProcess", name, str(number), ignore=NOT_RUNNING)

    def shut_down(self) -> None:
        """Ask supervisord to stop all programs and to exit."""
        self._call("supervisor.shutdown", ignore=SHUTTING_DOWN)

    def _call(self, method: str, *arguments: object, ignore: int = 0) -> Any:
        transport = _Transport(self._state.supervisor_socket, self._timeout)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == ignore:
                return None
            raise SupervisorError(_fault_text(self._state, method, arguments, fault)) from fault
        except TimeoutError as error:
            raise SupervisorError(
                f"The supervisor in {self._state.path} did not answer within {self._timeout:g} s. If it is stopped or "
                f"stuck, end it (its PID is in {self._state.pid_file}) and run `sidelane up` again."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise NoSupervisor(
                f"No supervisor runs in {self._state.path}. Start the service with `sidelane up`."
            ) from error


def _fault_text(state: StateDirectory, method: str, arguments: Sequence[object], fault: xmlrpc.client.Fault) -> str:
    name = arguments[0] if arguments else ""
    log = f"Its log is {state.supervisor_log}."
    if fault.faultCode == BAD_NAME:
        return f"The supervisor knows no program {name!r}. Run `sidelane up` to read the description again."
    if fault.faultCode == SHUTTING_DOWN:
        return "The supervisor is shutting down. Wait until `sidelane status` says that nothing runs, then repeat this command."
    return f"The supervisor could not do {method.removeprefix('supervisor.')} {name}: {fault.faultString}. {log}"


def running_supervisor(state: StateDirectory, *, timeout: float = RPC_TIMEOUT) -> SupervisorClient | None:
    """Return a client if a supervisor runs here. Raises `SupervisorError` if it does not answer."""
    client = SupervisorClient(state, timeout=timeout)
    with contextlib.suppress(NoSupervisor):
        client.pid()
        return client
    return None
