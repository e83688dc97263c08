"""systemd: a hardened unit for each group, and a target for all of them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sidelane.model.errors import ConfigurationError
from sidelane.ops.deploy.facts import DeployFile, ServiceFacts, duration_text, is_local_store
from sidelane.ops.groups import ApiGroup, CommandGroup, Group
from sidelane.ops.programs import Program, programs_of
from sidelane.processes.exit_code import Exit

WATCHDOG = 60
"""Seconds without a sign of life of the parent's and its processes' event loops after which systemd restarts the group."""

START_MARGIN = 10

HARDENING = """\
# What the group may do. If it needs more, e.g. another folder, add it here.
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0027
"""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class SystemdOptions:
    """Facts of the server: the user of the units (None: the service's name), the project's folder, and the program `sidelane`.

    Raises `ConfigurationError` if a value cannot be written into a unit.
    """

    user: str | None
    directory: str
    program: str

    def __post_init__(self) -> None:
        if self.user is not None and not _USER.fullmatch(self.user):
            raise ConfigurationError(f"--user {self.user!r}: write the name of a user, e.g. shop.")
        for option, value in (("--directory", self.directory), ("--program", self.program)):
            if not value.startswith("/") or re.search(r"[\0-\x1f\x7f\"'\\]", value):
                raise ConfigurationError(
                    f"{option} {value!r}: write an absolute path without quotes, as it is on the server."
                )


def systemd_files(service: ServiceFacts, options: SystemdOptions) -> list[DeployFile]:
    """Return the target and the units."""
    units = _Units(service, options)
    programs = programs_of(service.description)
    return [
        DeployFile(f"{service.name}.target", units.target(programs)),
        *(DeployFile(units.unit_name(each.name), units.unit(each)) for each in programs),
    ]


class _Units:
    def __init__(self, service: ServiceFacts, options: SystemdOptions) -> None:
        self._service = service
        self._options = options
        self._target = f"{service.name}.target"
        self._user = options.user or service.name[:32]

    def unit_name(self, group: str) -> str:
        return f"{self._service.name}-{group}.service"

    def target(self, programs: Sequence[Program]) -> str:
        units = " ".join(self.unit_name(each.name) for each in programs if each.autostart)
        return f"""\
# All groups of {self._service.name}, written by `sidelane deploy systemd` from {_comment(self._service.source)}.
# Commit these files and change them as you need. Copy them to /etc/systemd/system, then:
#     systemctl daemon-reload && systemctl enable --now {self._target}
# Start, stop, and restart without a gap (each new process is ready before an old one stops):
#     systemctl start {self._target}
#     systemctl stop {self._target}
#     systemctl reload '{self._service.name}-*.service'
# The user: useradd --system --home-dir {self._options.directory} {self._user}

[Unit]
Description={_specifiers(self._service.name)}
Wants={units}

[Install]
WantedBy=multi-user.target
"""

    def unit(self, program: Program) -> str:
        group = self._service.description.groups[program.name]
        install = f"\n[Install]\nWantedBy={self._target}\n" if group.autostart else ""
        return f"""\
# Group {program.name} of {self._service.name}, written by `sidelane deploy systemd` from {_comment(self._service.source)}.

[Unit]
Description={_specifiers(f"{self._service.name}: {program.name}")}
{chr(10).join(self._order(program))}

[Service]
# The parent of the group reports when all its processes are ready, and that their event loops turn.
Type=notify
NotifyAccess=main
{chr(10).join(self._start(program))}
# SIGHUP replaces the processes one by one, without a gap.
ExecReload=/bin/kill -HUP $MAINPID
{chr(10).join(self._stop(program))}

User={self._user}
WorkingDirectory={_specifiers(self._directory(program))}
{chr(10).join(self._environment(group))}
# An open event stream or connection is a file.
LimitNOFILE=65536

{HARDENING}\
# The store and the files of the project. Everything else is read-only.
ReadWritePaths="{_specifiers(self._options.directory)}"
{chr(10).join(_capabilities(group))}
{install}"""

    def _order(self, program: Program) -> Iterator[str]:
        yield f"PartOf={self._target}"
        yield "Wants=network-online.target"
        yield "After=network-online.target"
        if is_local_store(self._service.settings.store) and not self._service.settings.store.startswith("sqlite"):
            yield "After=redis-server.service valkey-server.service"
        needed = " ".join(map(self.unit_name, program.depends_on))
        if needed:
            yield "# A unit counts as started when it is ready."
            yield f"Wants={needed}"
            yield f"After={needed}"

    def _start(self, program: Program) -> Iterator[str]:
        arguments = [self._options.program, *program.command[1:]]
        yield f"ExecStart={' '.join(_argument(each, program=number == 0) for number, each in enumerate(arguments))}"
        yield f"TimeoutStartSec={round(program.ready_timeout) + START_MARGIN}"
        yield f"WatchdogSec={WATCHDOG}"
        yield "Restart=on-failure"
        yield "RestartSec=2"
        wrong, gave_up = int(Exit.CONFIGURATION), int(Exit.GAVE_UP)
        yield f"# No restart after an error of configuration, e.g. of an import ({wrong}), or if the parent gave up ({gave_up})."
        yield f"RestartPreventExitStatus={wrong} {gave_up}"

    def _stop(self, program: Program) -> Iterator[str]:
        drain = duration_text(self._service.drain_seconds(program.name))
        yield f"# SIGTERM goes to the parent alone, which lets jobs and requests end for up to {drain}. Then all are killed."
        yield "KillMode=mixed"
        yield f"TimeoutStopSec={self._service.grace_seconds(program.name)}"
        yield "# If the kernel kills one process for lack of memory, the parent replaces it. systemd would stop all of them."
        yield "OOMPolicy=continue"

    def _directory(self, program: Program) -> str:
        group = self._service.description.groups[program.name]
        if isinstance(group, CommandGroup):
            return str(PurePosixPath(self._options.directory) / group.directory)
        return self._options.directory

    def _environment(self, group: Group) -> Iterator[str]:
        description = self._service.description
        common, own = self._service.variables(), self._service.variables(group)
        secret = dict.fromkeys([*common.secret, *own.secret])
        yield "# Programs are found first where `sidelane` is."
        path = f"{PurePosixPath(self._options.program).parent}:/usr/local/bin:/usr/bin:/bin"
        yield f"Environment={_quoted(f'PATH={path}')}"
        for name, value in {**common.public, **own.public}.items():
            if name in description.file_variables:
                yield f"# {name} is in {description.env_file} too, which overrides this line: remove it there."
            yield f"Environment={_quoted(f'{name}={value}')}"
        if description.env_file:
            file = PurePosixPath(self._options.directory) / description.env_file
            yield "# systemd knows no `export` in this file, and no # after a value."
            yield f"EnvironmentFile={_specifiers(str(file))}"
        if secret:
            yield f"# Secrets, which are not written here: {', '.join(secret)}. Only root needs to read this file."
            yield f"EnvironmentFile=/etc/{self._service.name}.env"


def _capabilities(group: Group) -> Iterator[str]:
    if isinstance(group, ApiGroup) and group.port < 1024:
        yield f"# Port {group.port} is for programs with this right."
        yield "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"
    else:
        yield "CapabilityBoundingSet="


def _argument(text: str, *, program: bool) -> str:
    """Return an argument of ExecStart. A `$` would begin a variable, except in the name of the program."""
    doubled = text if program else text.replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_./:=,@$+-]+", doubled):
        return doubled
    return _quoted(doubled)


def _quoted(text: str) -> str:
    """Return a text in quotes, as units take it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = re.sub(r"[\0-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f'"{_specifiers(escaped)}"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _comment(text: str) -> str:
    return re.sub(r"[\0-\x1f\x7f]", "?", text)
