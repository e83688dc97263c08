"""Docker Compose: a service for each group, and Redis with an append-only file."""

import re
from collections.abc import Iterator, Mapping

from sidelane.ops.deploy.facts import (
    STORE,
    DeployFile,
    ServiceFacts,
    Variables,
    duration_text,
    is_local_store,
    names_this_machine,
)
from sidelane.ops.deploy.yaml_text import comment, flow, scalar
from sidelane.ops.groups import ApiGroup, CommandGroup, Group, WorkerGroup
from sidelane.ops.programs import Program

ROOT = "/srv/app"
"""The project's folder in the image that `sidelane deploy dockerfile` describes."""

REDIS = """\
  redis:
    image: redis:8-alpine
    # The append-only file keeps acknowledged jobs over a restart. `everysec` may lose about two seconds if the machine
    # crashes; `always` loses nothing and is slower. `noeviction` refuses new jobs if memory is full, instead of removing others.
    command: [redis-server, --appendonly, "yes", --appendfsync, everysec, --maxmemory-policy, noeviction]
    volumes: ["redis:/data"]
    healthcheck:
      test: [CMD, redis-cli, ping]
      interval: 5s
      timeout: 3s
      retries: 12
    stop_grace_period: 30s  # it writes its file
    restart: unless-stopped
"""

HTTP_CHECK = "import urllib.request as r; r.urlopen({url!r}, timeout=3)"
TCP_CHECK = "import socket; socket.create_connection(({host!r}, {port}), timeout=3)"


def compose_files(service: ServiceFacts) -> list[DeployFile]:
    """Return `compose.yaml`, and `.env.example` with the numbers of processes."""
    compose = _Compose(service)
    return [DeployFile("compose.yaml", compose.text()), DeployFile(".env.example", compose.env_example())]


class _Compose:
    def __init__(self, service: ServiceFacts) -> None:
        self._service = service
        self._groups = service.description.groups
        self._programs = service.container_programs()
        self._own_redis = is_local_store(service.settings.store)
        self._redis = "redis" if "redis" not in self._groups else "sidelane-redis"

    def text(self) -> str:
        volumes = (["redis"] if self._own_redis else []) + ["files"]
        services = [self._group(name, group) for name, group in self._groups.items()]
        return "\n".join(
            [
                self._head(),
                *(
                    ["services:", REDIS.replace("  redis:\n", f"  {self._redis}:\n")]
                    if self._own_redis
                    else ["services:"]
                ),
                *services,
                "volumes:",
                *(f"  {name}:" for name in volumes),
                "",
            ]
        )

    def env_example(self) -> str:
        """Return the variables that people set for each installation."""
        lines = [
            f"# Variables of compose.yaml for {self._service.name}. Copy this file to .env, which is not committed.",
            "# Numbers of processes. `docker compose up -d` applies a change.",
            *(
                f"{_count_variable(name, group)}={self._programs[name].processes}"
                for name, group in self._groups.items()
                if not isinstance(group, CommandGroup)
            ),
        ]
        secret = dict.fromkeys(
            [*self._service.variables().secret, *(n for g in self._groups.values() for n in self._variables(g).secret)]
        )
        if secret:
            lines += [
                "# Secrets, which the description contains, and which are not written here.",
                *(f"{name}=" for name in secret),
            ]
        return "\n".join([*lines, ""])

    def _head(self) -> str:
        image = f"${{{self._service.identifier.upper()}_IMAGE:-{self._service.name}:latest}}"
        env_file = self._service.description.env_file
        variables = self._service.variables()
        public = {name: value for name, value in variables.public.items() if not (name == STORE and self._own_redis)}
        if self._own_redis:
            public = {STORE: f"redis://{self._redis}:6379/0", **public}
        environment = list(_environment(Variables(public, variables.secret), "    ")) or ["    {}"]
        return f"""\
# Docker Compose for {self._service.name}, written by `sidelane deploy compose` from {comment(self._service.source)}.
# Commit this file and change it as you need. Numbers of processes and secrets come from .env (see .env.example).
#
# Logs and state:  docker compose logs -f chat     docker compose ps
# Restart without a gap: the parent in each container replaces its processes one by one, each after its successor is ready:
#     docker compose kill -s HUP NAME
# A new image needs new containers. `docker compose up -d` stops a container before its successor starts; jobs wait meanwhile.
# Without a gap for workers: start a second container of the new image, then stop the old one, which ends its jobs first:
#     docker compose up -d --no-recreate --scale NAME=2 NAME && docker stop <the old container>
# Containers that publish a port cannot overlap: nginx (`sidelane deploy nginx`) sends requests to another API group meanwhile.

name: {scalar(self._service.name)}

x-service: &service
  image: {scalar(image)}
  build: .
  init: true  # reaps orphaned processes, which the parent of a group does not; signals are passed on
  restart: unless-stopped  # also after a reboot
{_env_file(env_file)}\
  volumes: ["files:{ROOT}/sidelane-files"]  # uploads, shared by API and workers, unless SIDELANE_FILE_STORAGE is a bucket
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "5"}}

x-environment: &environment
{chr(10).join(line[2:] for line in environment)}
"""

    def _group(self, name: str, group: Group) -> str:
        program = self._programs[name]
        lines = [f"  {name}:", "    <<: *service", f"    command: {flow(self._command(name, group, program))}"]
        directory = self._service.container_directory(group, ROOT)
        lines += [f"    working_dir: {scalar(directory)}"] if directory else []
        if group.kind == "api" and program.address:
            port = program.address[1]
            lines.append(
                f'    ports: ["127.0.0.1:{port}:{port}"]  # for a proxy on this machine; nothing else reaches it'
            )
        lines += self._environment(group)
        lines += self._dependencies(group)
        lines += self._health(program, group)
        drain, grace = self._service.drain_seconds(name), self._service.grace_seconds(name)
        lines.append(
            f"    stop_grace_period: {grace}s  # {_stop_reason(group)}: up to {duration_text(drain)}, and 10 s more"
        )
        lines += [] if group.autostart else ["    profiles: [manual]  # `docker compose up -d` alone does not start it"]
        return "\n".join([*lines, ""])

    def _command(self, name: str, group: Group, program: Program) -> list[str]:
        command = [part.replace("$", "$$") for part in program.command]
        if not isinstance(group, CommandGroup):
            position = command.index("--processes") + 1
            command[position] = f"${{{_count_variable(name, group)}:-{command[position]}}}"
        if isinstance(group, ApiGroup | WorkerGroup) and group.metrics_port is not None:
            command += ["--health-host", "0.0.0.0"]  # noqa: S104 # nosec B104 - scrapes come from another container
        return command

    def _variables(self, group: Group) -> Variables:
        return self._service.variables(group)

    def _environment(self, group: Group) -> Iterator[str]:
        own = list(_environment(self._variables(group), "      "))
        if group.kind == "api" and "FORWARDED_ALLOW_IPS" not in group.environment:
            own.append('      FORWARDED_ALLOW_IPS: "*"  # nginx comes through the gateway of the network; see `ports`')
        if own:
            yield from ("    environment:", "      <<: *environment", *own)
        else:
            yield "    environment: *environment"

    def _dependencies(self, group: Group) -> Iterator[str]:
        needed = {self._redis: "service_healthy"} if self._own_redis and group.kind != "command" else {}
        needed |= {name: _condition(self._groups[name]) for name in group.depends_on}
        if needed:
            yield "    depends_on:"
            yield from (f"      {name}: {{condition: {condition}}}" for name, condition in needed.items())

    def _health(self, program: Program, group: Group) -> Iterator[str]:
        code = _check_code(program, group)
        if code is None:
            yield "    healthcheck: {disable: true}  # the image's own check is about `sidelane up`"
            return
        yield "    healthcheck:"
        yield f"      test: {flow(['CMD', 'python', '-c', code.replace('$', '$$')])}"
        yield "      interval: 10s"
        yield "      timeout: 5s"
        yield "      retries: 3"
        yield f"      start_period: {round(program.ready_timeout)}s"


def _check_code(program: Program, group: Group) -> str | None:
    if program.health is not None:
        return HTTP_CHECK.format(url=f"http://127.0.0.1:{program.health[1]}/health/ready")
    if isinstance(group, CommandGroup) and group.ready is not None:
        if group.ready.http is not None:
            return HTTP_CHECK.format(url=group.ready.http)
        if group.ready.address is not None:
            host, port = group.ready.address
            return TCP_CHECK.format(host=host, port=port)
    return None


def _condition(group: Group) -> str:
    checked = not isinstance(group, CommandGroup) or (group.ready is not None and group.ready.address is not None)
    return "service_healthy" if checked else "service_started"


def _environment(variables: Variables, indent: str) -> Iterator[str]:
    yield from _public(variables.public, indent)
    for name in variables.secret:
        yield f"{indent}{scalar(name)}: ${{{name}:?write it into .env}}"


def _public(public: Mapping[str, str], indent: str) -> Iterator[str]:
    for name, value in public.items():
        if names_this_machine(value):
            yield f"{indent}# CHANGE THIS: localhost is the container itself. Other containers have the names of their services."
        yield f"{indent}{scalar(name)}: {scalar(value.replace('$', '$$'))}"


def _count_variable(name: str, group: Group) -> str:
    prefix = "API" if group.kind == "api" else "WORKERS"
    return f"{prefix}_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"


def _stop_reason(group: Group) -> str:
    return {"api": "requests end", "worker": "jobs end"}.get(group.kind, "it stops")


def _env_file(path: str | None) -> str:
    return f"  env_file: [{scalar(path)}]\n" if path else ""
