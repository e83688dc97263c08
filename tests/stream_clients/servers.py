"""ASGI servers that services are run by, and how each is started."""

import sys

APP = "tests.system.api:app"

COMMANDS = {
    "uvicorn": ["uvicorn", "--port", "{port}"],
    "uvicorn with uvloop and two workers": ["uvicorn", "--port", "{port}", "--loop", "uvloop", "--workers", "2"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}"],
    "hypercorn with two workers": ["hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "2"],
    "hypercorn in one process": ["hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "0"],
    "hypercorn with uvloop": ["hypercorn", "--bind", "127.0.0.1:{port}", "--worker-class", "uvloop"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}"],
    # A worker that is stopped before it has imported the application ignores the signal, so granian must not wait without limit.
    "granian with two workers": [
        *("granian", "--interface", "asgi", "--port", "{port}"),
        *("--workers", "2", "--workers-kill-timeout", "2"),
    ],
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{port}", "--worker-class", "uvicorn_worker.UvicornWorker"],
}
"""The arguments of `python -m` by server, without the application."""


def command(server: str, port: int, app: str = APP, *options: str) -> list[str]:
    """Return the command that runs an application."""
    return [sys.executable, "-m", *(each.format(port=port) for each in COMMANDS[server]), *options, app]
