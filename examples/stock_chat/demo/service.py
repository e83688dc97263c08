"""The stock chat on this machine: a language model, an API process and two workers, each on a port or store of the demo's own."""

import os

from examples.stock_chat.demo.processes import Processes, free_port

WORKERS = ("w1", "w2")
LEASE = 3.0  # seconds after which a silent worker's jobs go to another; the default is 10


async def start_model(processes: Processes) -> str:
    """Start the small language model and give its base URL; or use yours, where OPENAI_BASE_URL says."""
    yours = os.environ.get("OPENAI_BASE_URL")
    if yours:
        return yours
    # it shares the cores with the API, which a model of your own would not: so it stands back
    await processes.start("model", "examples.stock_chat.llm_server", "--nice", "10")
    url = await processes.said("model", "ready:")
    processes.environment |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "OPENAI_MODEL": "gemma-3-270m"}
    return url


async def start_api(processes: Processes) -> str:
    """Start the API and give its URL."""
    port = free_port()
    await processes.start("api", "uvicorn", "examples.stock_chat.main:app", "--port", str(port), "--no-access-log")
    await processes.said("api", "Uvicorn running")
    return f"http://127.0.0.1:{port}"


async def start_worker(processes: Processes, name: str) -> int:
    """Start a worker and give its process id."""
    process = await processes.start(name, "sidelane.cli", "worker", "examples.stock_chat.lane:lane", "--name", name)
    await processes.said(name, "tasks:")  # the last line of its introduction
    return process.pid


def use_own_store(processes: Processes) -> None:
    """Keep jobs and messages in the demo's folder."""
    folder = processes.folder
    processes.environment |= {
        "SIDELANE_STORE": f"sqlite:///{folder / 'sidelane.db'}",
        "SIDELANE_LEASE_DURATION": str(LEASE),
        "SIDELANE_SHUTDOWN_TIMEOUT": "1",  # who ends the demo does not want to wait for its answers
        "STOCK_CHAT_DB": str(folder / "messages.db"),
        "PYTHONUNBUFFERED": "1",
    }
