"""What was acknowledged is on disk."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
from httpx2 import AsyncClient

from sidelane import State
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import Processes
from tests.system.waiting import until

TRACED = "trace=recvfrom,pwrite64,fsync,fdatasync,sendto,sendmsg,write,writev"


@dataclass(frozen=True, slots=True)
class SystemCall:
    """One finished system call, in the order in which they returned; writes count from when they began."""

    name: str
    file: str
    text: str

    @property
    def of_the_log(self) -> bool:
        return self.file.endswith("jobs.db-wal")


def system_calls(trace: str) -> list[SystemCall]:
    """Read strace's output: a call that another thread interrupted is put together again."""
    calls: list[SystemCall] = []
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            if rest.startswith("send"):  # what is being sent may have arrived
                calls.append(_call(begun[thread]))
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", rest)
        if resumed:
            rest = begun.pop(thread, "") + resumed[1]
            if rest.startswith("send"):
                continue
        if "(" in rest:
            calls.append(_call(rest))
    return calls


def _call(text: str) -> SystemCall:
    name, _, arguments = text.partition("(")
    file = re.match(r"\d+<(.*?)>\s*[,)]", arguments)
    return SystemCall(name, file[1] if file else "", text)


def synced_before_reply(calls: list[SystemCall], job: str) -> bool:
    """Return whether the log was written, then synced, and only then the 202 of this submit was sent."""
    asked = next(place for place, call in enumerate(calls) if call.name == "recvfrom" and f"/sums/{job}?" in call.text)
    connection = calls[asked].file
    replied = next(
        place
        for place, call in enumerate(calls)
        if place > asked and call.file == connection and call.name in {"sendto", "sendmsg", "write", "writev"}
    )
    assert "HTTP/1.1 202" in calls[replied].text
    between = calls[asked:replied]
    written = [place for place, call in enumerate(between) if call.of_the_log and job in call.text]
    synced = [
        place
        for place, call in enumerate(between)
        if call.of_the_log and call.name in {"fsync", "fdatasync"} and call.text.endswith("= 0")
    ]
    return bool(written) and bool(synced) and max(synced) > min(written)


@pytest.mark.skipif(which("strace") is None, reason="strace is not installed: apt-get install strace")
async def test_every_202_is_sent_after_a_sync(scenario: ProcessScenario, processes: Processes, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    # -D: the service is our own child, and strace watches from the side; -s: a page of the log in full
    _, client = await scenario.api(under=("strace", "-D", "-f", "-yy", "-s", "5000", "-e", TRACED, "-o", str(trace)))

    async def submit(job: str) -> None:
        answer = await client.post(f"/sums/{job}", params={"a": 1, "b": 2})
        assert answer.status_code == 202

    alone = [f"alone-{number}-of-the-jobs" for number in range(5)]
    for job in alone:
        await submit(job)
    together = [f"together-{number}-of-the-jobs" for number in range(10)]
    await asyncio.gather(*map(submit, together))
    processes.stop()
    await until(lambda: trace.read_text(errors="replace").endswith(" +++\n"), "strace has seen the end")

    calls = system_calls(trace.read_text(errors="replace"))
    assert {job: synced_before_reply(calls, job) for job in alone + together} == dict.fromkeys(alone + together, True)


@pytest.mark.row("R9")
async def test_job_survives_sigkill_of_the_api_right_after_its_202(scenario: ProcessScenario) -> None:
    jobs = []
    for number in range(2):
        api, client = await scenario.api()
        answer = await client.post(f"/sums/job-{number}", params={"a": number, "b": 1})
        api.kill()
        assert answer.status_code == 202
        jobs.append(answer.json()["id"])

    _, client = await scenario.api()
    for job in jobs:
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "queued"
    await scenario.worker("w1")
    assert [await result_of(client, job) for job in jobs] == [1, 2]
    assert [record.state for record in await scenario.records(jobs)] == [State.SUCCEEDED] * 2


async def result_of(client: AsyncClient, job: str) -> object:
    """Wait for a job's result as a client does."""

    async def there() -> bool:
        return (await client.get(f"/jobs/{job}/result")).status_code == 200

    await until(there, "the result is there")
    return (await client.get(f"/jobs/{job}/result")).json()
