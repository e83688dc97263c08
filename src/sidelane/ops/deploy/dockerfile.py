"""Dockerfile of a service: two stages, an ordinary user, and the whole service as its command."""

import sys
from collections.abc import Iterator
from pathlib import Path

from sidelane.ops.deploy.compose import ROOT
from sidelane.ops.deploy.facts import DeployFile, ServiceFacts

IGNORED = """\
# What the image does not contain: history, environments, secrets and data.
.git
.venv
**/__pycache__
.env
.env.*
.sidelane
sidelane-files
sidelane.db*
"""


def dockerfile_files(service: ServiceFacts) -> list[DeployFile]:
    """Return `Dockerfile` and `.dockerignore`."""
    return [DeployFile("Dockerfile", _dockerfile(service)), DeployFile(".dockerignore", IGNORED)]


def _dockerfile(service: ServiceFacts) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"""\
# syntax=docker/dockerfile:1
# Image of {service.name}, written by `sidelane deploy dockerfile`. Commit this file and change it as you need.

# --- Installs the dependencies. Compilers and caches stay in this stage. ---
FROM python:{version}-slim AS build
WORKDIR {ROOT}
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
{chr(10).join(_installation(service.description.folder))}

# --- Runs the service. ---
FROM python:{version}-slim
# The parent of a group passes signals on, but as process 1 it would not reap orphans of other programs. tini does.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin app && install -d -o app -g app {ROOT} {ROOT}/sidelane-files
COPY --from=build /opt/venv /opt/venv
WORKDIR {ROOT}
COPY --chown=app:app . .
# No .pyc files, which a read-only file system could not take; log lines appear at once.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "-s", "--"]
# The whole service in one container. compose.yaml and Kubernetes run one group in each container instead.
# Let the runtime wait longer than the jobs may take before it kills the container, e.g. docker stop --timeout 700.
CMD ["sidelane", "up", "--foreground"]
# Only for the command above; compose.yaml and Kubernetes have checks of their groups.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["sidelane", "status"]
"""


def _installation(folder: Path) -> Iterator[str]:
    """Yield the commands that install what the files of the project name. Dependencies come first, so that they are cached."""
    if (folder / "uv.lock").is_file():
        yield "RUN pip install uv"
        yield "COPY pyproject.toml uv.lock ./"
        yield "RUN UV_PROJECT_ENVIRONMENT=/opt/venv uv sync --frozen --no-dev --no-install-project"
    elif (folder / "requirements.txt").is_file():
        yield "COPY requirements.txt ./"
        yield "RUN pip install -r requirements.txt"
    elif (folder / "pyproject.toml").is_file():
        yield "# CHANGE THIS if your project is no package: then write requirements.txt, and install that."
        yield "COPY . ."
        yield "RUN pip install ."
    else:
        yield "# CHANGE THIS: there is neither uv.lock, requirements.txt nor pyproject.toml, so the dependencies are unknown."
        yield 'RUN pip install "sidelane[all]"'
