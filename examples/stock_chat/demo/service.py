"""The stock chat on this machine: a language model, an API process and two workers, on the demo's own ports and store."""

import os

from examples.stock_chat.demo.processes import Processes, free_port

WORKERS = ("w1", "w2")
LEASE_DURATION = 3.0  # seconds until the jobs of a lost worker go to another; the default is 10


async def start_model(processes: Processes) -> str:
    """Return OPENAI_BASE_URL if it is set; otherwise start the small language model and return its base URL."""
    configured = os.environ.get("OPENAI_BASE_URL")
    if configured:
        return configured
    # low priority, because it shares the CPU with the API, unlike a real model server
    await processes.start("model", "examples.stock_chat.llm_server", "--nice", "10")
    url = await processes.wait_for_log("model", "ready:")
    processes.environment |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none", "OPENAI_MODEL": "gemma-3-270m"}
    return url


async def start_api(processes: Processes) -> str:
    """Start the API and return its URL."""
    port = free_port()
    await processes.start("api", "uvicorn", "examples.stock_chat.main:app", "--port", str(port), "--no-access-log")
    await processes.wait_for_log("api", "Uvicorn running")
    return f"http://127.0.0.1:{port}"


async def start_worker(processes: Processes, name: str) -> int:
    """Start a worker and return its process id."""
    process = await processes.start(name, "sidelane.cli", "worker", "examples.stock_chat.lane:lane", "--name", name)
    await processes.wait_for_log(name, "tasks:")  # the last line that it logs at its start
    return process.pid


def use_own_store(processes: Processes) -> None:
    """Store jobs and messages in the demo's folder."""
    folder = processes.folder
    processes.environment |= {
        "SIDELANE_STORE": f"sqlite:///{folder / 'sidelane.db'}",
        "SIDELANE_LEASE_DURATION": str(LEASE_DURATION),
        "SIDELANE_SHUTDOWN_TIMEOUT": "1",  # do not wait for unfinished answers
        "STOCK_CHAT_DB": str(folder / "messages.db"),
        "PYTHONUNBUFFERED": "1",
    }
