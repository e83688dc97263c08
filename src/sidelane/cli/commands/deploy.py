"""`sidelane deploy`: files for nginx, Compose, systemd, Kubernetes and Grafana, a Dockerfile, commands for queues and topics."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sidelane.app import Sidelane
from sidelane.cli.commands.api import load_application
from sidelane.cli.locate import load_lane
from sidelane.cli.options import expand_options
from sidelane.cli.output.console import print_text, stderr, warning
from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError
from sidelane.ops.description import Description, load_description
from sidelane.ops.groups import ApiGroup, WorkerGroup

if TYPE_CHECKING:
    from sidelane.ops.deploy.facts import DeployFile, ServiceFacts

# Modules of `sidelane.ops.deploy` are imported in functions, because they need FastAPI, and `sidelane --help` imports this module.

commands = typer.Typer(
    no_args_is_help=True,
    help="Print files that run the service elsewhere, made from its description, for you to commit and change.",
)


@dataclass(frozen=True, kw_only=True)
class DeployFlags:
    """Options of every kind of files."""

    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write the files into this folder.", show_default=False),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.", show_default=False)] = False
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Name of the service. Default: that of the folder.", show_default=False
        ),
    ] = None


@commands.command()
@expand_options
def nginx(
    *,
    server_name: Annotated[str | None, typer.Option(metavar="HOST", help="Public name, e.g. shop.example.com.")] = None,
    certificate: Annotated[str | None, typer.Option(metavar="FILE", help="TLS certificate, with its chain.")] = None,
    certificate_key: Annotated[str | None, typer.Option(metavar="FILE", help="Key of the certificate.")] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Where nginx listens. Default: 80, with a certificate 443."),
    ] = None,
    app: Annotated[
        str | None, typer.Option(metavar="MODULE:ATTR", help="The application, if the API groups have several.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Let `nginx -t` check the file.", show_default=False)] = False,
    flags: DeployFlags,
) -> None:
    """Print a server of nginx: pools of API groups, and the routes that submit jobs or stream events, found in the application."""
    from sidelane.ops.deploy.checks import check_nginx
    from sidelane.ops.deploy.nginx import NginxOptions, nginx_files

    options = NginxOptions(
        server_name=server_name,
        certificate=certificate,
        certificate_key=certificate_key,
        listen=listen,
        application=app,
    )
    _deploy(
        flags, lambda service: nginx_files(service, options), applications=True, check=check_nginx if check else None
    )


@commands.command()
@expand_options
def compose(*, flags: DeployFlags) -> None:
    """Print a file for Docker Compose: every group, Redis with an append-only file, health checks, stop times."""
    from sidelane.ops.deploy.compose import compose_files

    _deploy(flags, compose_files)


@commands.command()
@expand_options
def systemd(
    *,
    user: Annotated[str | None, typer.Option(metavar="USER", help="User of the units. Default: the name.")] = None,
    directory: Annotated[
        str | None, typer.Option(metavar="DIR", help="The project's folder on the server. Default: the current folder.")
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="`sidelane` on the server. Default: that of this environment."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Let `systemd-analyze verify` check the units.", show_default=False)
    ] = False,
    flags: DeployFlags,
) -> None:
    """Print units for systemd: one of each group, and a target that starts and stops them together."""
    from sidelane.ops.deploy.checks import check_systemd
    from sidelane.ops.deploy.systemd import SystemdOptions, systemd_files

    options = SystemdOptions(
        user=user,
        directory=directory or str(Path.cwd()),
        program=program or str(Path(sys.executable).with_name("sidelane")),
    )
    _deploy(flags, lambda service: systemd_files(service, options), check=check_systemd if check else None)


@commands.command()
@expand_options
def kubernetes(
    *,
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="The image. Default: NAME:latest.")] = None,
    flags: DeployFlags,
) -> None:
    """Print manifests for Kubernetes: deployments, services, probes, disruption budgets."""
    from sidelane.ops.deploy.kubernetes import kubernetes_files

    _deploy(flags, lambda service: kubernetes_files(service, image))


@commands.command()
@expand_options
def dockerfile(*, flags: DeployFlags) -> None:
    """Print a Dockerfile: two stages, an ordinary user, a health check."""
    from sidelane.ops.deploy.dockerfile import dockerfile_files

    _deploy(flags, dockerfile_files, lanes=False)


@commands.command()
@expand_options
def messaging(*, flags: DeployFlags) -> None:
    """Print the `aws` and `gcloud` commands that create the queues and topics of the lanes, with dead letters and permissions."""
    from sidelane.ops.deploy.messaging import messaging_files

    _deploy(flags, messaging_files)


@commands.command()
@expand_options
def grafana(*, flags: DeployFlags) -> None:
    """Print a dashboard for Grafana and alert rules for Prometheus, about the metrics of the service."""
    from sidelane.ops.deploy.facts import service_name
    from sidelane.ops.deploy.grafana import grafana_files

    _output(grafana_files(service_name(flags.name or Path.cwd().name)), flags)  # it needs no description of the service


def _deploy(
    flags: DeployFlags,
    make: "Callable[[ServiceFacts], Sequence[DeployFile]]",
    *,
    applications: bool = False,
    lanes: bool = True,
    check: "Callable[[Sequence[DeployFile]], None] | None" = None,
) -> None:
    from sidelane.ops.deploy.facts import ServiceFacts, service_name

    description = load_description(Path.cwd())
    with _environment(description.environment):
        service = ServiceFacts(
            name=service_name(flags.name or description.folder.name),
            description=description,
            applications=_applications(description) if applications else {},
            lanes=_lanes(description) if lanes else {},
        )
        files = make(service)
    if check is not None:
        check(files)
    _output(files, flags)


def _output(files: "Sequence[DeployFile]", flags: DeployFlags) -> None:
    """Print files, or write them into the chosen folder."""
    if flags.output is None:
        if flags.force:
            stderr().print(warning("--force has no effect without --output: nothing is written."))
        print_text("\n".join(file.text if len(files) == 1 else f"# --- {file.name}\n{file.text}" for file in files))
        return
    for path in write_files(files, flags.output, force=flags.force):
        stderr().print(f"✓ {path}")


def write_files(files: "Sequence[DeployFile]", folder: Path, *, force: bool) -> list[Path]:
    """Write files and return their paths. Raises `ConfigurationError` if one exists, unless `force`, or cannot be written."""
    paths = [folder / file.name for file in files]
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise ConfigurationError(
            f"{', '.join(existing)}: there is such a file already, and nothing was written. Choose another folder, or overwrite "
            "it with --force."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, file in zip(paths, files, strict=True):
            path.write_text(file.text, "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Choose a folder that you may write, e.g. "
            "--output deploy."
        ) from error
    return paths


def _applications(description: Description) -> dict[str, Any]:
    references = dict.fromkeys(group.app for group in description.groups.values() if isinstance(group, ApiGroup))
    return {reference: load_application(reference) for reference in references}


def _lanes(description: Description) -> dict[str, Sidelane]:
    found: dict[str, Sidelane] = {}
    for name, group in description.groups.items():
        if isinstance(group, WorkerGroup):
            environ = {**os.environ, **group.environment}
            found[name] = load_lane(group.lane or load_settings(environ, description.folder).settings.lane)
    return found


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables of the service within the block, because its modules read them when they are imported."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
