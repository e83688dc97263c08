"""Facts of services for the deployment tests, from a description as a text."""

from pathlib import Path
from typing import Any

from sidelane.ops.deploy.facts import ServiceFacts
from sidelane.ops.groups import ApiGroup, WorkerGroup
from tests.ops.deploy import ticker
from tests.ops.descriptions import load

TICKER = "tests.ops.deploy.ticker"

SERVICE = f"""
environment = {{ SIDELANE_STORE = "redis://127.0.0.1:6379/0", STAGE = 'a $HOME ${{HOME}} $(id) %h "b" \\ c', API_KEY = "hunter2" }}

[api.general]
app = "{TICKER}:app"
port = 8001
processes = 2
depends_on = ["model"]

[api.heavy]
app = "{TICKER}:app"
port = 8002
pool = "heavy"
weight = 3

[worker.chat]
lane = "{TICKER}:lane"
queues = ["chat"]
processes = 2
max_memory = "500MB"
environment = {{ MODEL_URL = "http://127.0.0.1:8080/v1", MODEL_TOKEN = "hunter2" }}

[worker.rest]
lane = "{TICKER}:lane"
stop_timeout = 45
autostart = false

[command.model]
run = ["python", "-m", "http.server", "8080", "--title", '$HOME % "x" \\ $(id)']
directory = "models"
ready = {{ http = "http://127.0.0.1:8080/", timeout = 60 }}
"""


def facts(folder: Path, text: str = SERVICE, *, name: str = "shop", application: Any = ticker.app) -> ServiceFacts:
    """Return the facts of a service whose applications and lanes are those of the ticker, or another application."""
    description = load(folder, text)
    groups = description.groups
    return ServiceFacts(
        name=name,
        description=description,
        applications={group.app: application for group in groups.values() if isinstance(group, ApiGroup)},
        lanes={name: ticker.lane for name, group in groups.items() if isinstance(group, WorkerGroup)},
    )
