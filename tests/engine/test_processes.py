"""Tasks in child processes: kept warm, killed by timeouts, heard all along."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from sidelane import PREVIOUS_FAILURE, PREVIOUS_RESULT, JobCancelled, JobFailed, Sidelane
from sidelane.worker.child_protocol import pack
from tests.engine.process_tasks import (
    block,
    conflicting,
    die,
    double,
    fail,
    following,
    lane,
    polite,
    spin,
    stream,
    submitting,
    submitting_from_a_thread,
    told,
    where,
)

SOON = 20.0


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Sidelane]:
    lane.configuration.settings.__dict__["store"] = f"sqlite:///{tmp_path / 'jobs.db'}"
    async with lane.open(workers=1):
        yield lane


async def test_a_child_is_another_process_and_stays_warm_with_its_resources(running: Sidelane) -> None:
    first, model = await (await where.submit()).result(SOON)
    assert first != os.getpid()
    assert model == f"model of {first}"
    assert await (await where.submit()).result(SOON) == (first, model)


async def test_a_child_is_heard_while_it_works(running: Sidelane) -> None:
    job = await running.submit(stream.options(user="u1").call())
    assert await job.result(SOON) == "done"
    assert [(event.name, event.data) async for event in job.events()][:2] == [
        ("progress", '{"percent":50,"message":"half"}'),
        ("seen", '"u1"'),
    ]


async def test_a_timeout_kills_the_child(running: Sidelane) -> None:
    with pytest.raises(JobFailed, match=r"did not end within 0\.5 seconds"):
        await (await spin.submit()).result(SOON)


async def test_a_child_that_is_killed_is_gone(running: Sidelane) -> None:
    job = await block.submit()
    async with aclosing(job.events()) as events:
        pid = int((await anext(events)).data)
    assert not gone(pid)
    with pytest.raises(JobFailed, match="did not end within"):
        await job.result(SOON)
    async with asyncio.timeout(5):
        while not gone(pid):
            await asyncio.sleep(0.01)


async def test_a_cancel_reaches_the_child(running: Sidelane) -> None:
    job = await polite.submit()
    async with aclosing(job.events()) as events:
        assert (await anext(events)).name == "progress"
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.result(SOON)


async def test_a_child_that_dies_is_a_loss_reported_at_once(running: Sidelane) -> None:
    job = await die.submit()
    with pytest.raises(JobFailed, match="crashed its worker too many times"):
        await job.result(SOON)
    record = await job.record()
    assert (record.attempt, record.failures, record.worker_losses, record.isolated) == (2, 0, 2, True)
    assert ["exit status 3" in each.error for each in record.history] == [True, True]


async def test_an_error_in_the_child_keeps_its_words_for_operators(running: Sidelane) -> None:
    job = await fail.submit()
    with pytest.raises(JobFailed) as failed:
        await job.result(SOON)
    record = await job.record()
    assert record.history[0].error == "ValueError: in the child"
    assert "in the child" not in str(failed.value.problem().document())


async def test_a_child_submits_jobs_of_its_own(running: Sidelane) -> None:
    job = await running.submit(submitting.options(user="u1").call(3))
    ids = await job.result(SOON)
    assert [await double.job(each).result(SOON) for each in ids] == [0, 2, 4]
    spec = (await double.job(ids[0]).record()).spec
    assert (spec.parent, spec.user) == (job.id, "u1")


async def test_a_child_in_a_thread_waits_for_the_answer(running: Sidelane) -> None:
    await running.submit(double.options(id="d", user="u1").call(1))
    job = await running.submit(submitting_from_a_thread.options(user="u1").call())
    child, created = await job.result(SOON)
    record = await double.job(child).record()
    assert (record.spec.parent, record.spec.user, created) == (job.id, "u2", False)


async def test_a_child_knows_what_it_submitted_by_its_id_alone(running: Sidelane) -> None:
    job = await following.submit()
    with pytest.raises(JobFailed):
        await job.result(SOON)
    assert (
        "NotOpen: A task with process=True knows the jobs it submits by their ids"
        in (await job.record()).history[0].error
    )


async def test_a_child_is_told_why_its_submit_is_refused(running: Sidelane) -> None:
    await running.submit(double.options(id="taken", user="u1").call(1))
    assert await (await conflicting.submit()).result(SOON) == "The id of this job is taken."


async def test_a_child_is_given_what_came_before(running: Sidelane) -> None:
    job = await double.options(then=told.call(PREVIOUS_RESULT)).submit(4)
    await job.result(SOON)
    assert await told.job(f"{job.id}.1.0").result(SOON) == (8, "")
    failed = await fail.options(on_failure=told.call(1, PREVIOUS_FAILURE)).submit()
    with pytest.raises(JobFailed):
        await failed.result(SOON)
    assert await told.job(f"{failed.id}.1.0").result(SOON) == (1, "ValueError: in the child")


IDLE, RUNNING, REPORTING, HALF_ASKED = (
    "it is idle",
    "it runs a task",
    "nobody has heard what it said",
    "it was being asked",
)


@pytest.mark.parametrize("moment", [IDLE, RUNNING, REPORTING, HALF_ASKED])
def test_a_child_whose_worker_is_killed_ends_without_a_word(moment: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "sidelane.worker.child_main", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        ours.sendall(pack({"prepare": [polite.function.__module__, polite.name]}))
        assert b"ready" in ours.recv(1024)
        context = {"job_id": "j", "task": polite.name, "queue": "default", "attempt": 1}
        line = pack({"task": polite.name, "arguments": "{}", "version": 1, "failures": 0, "context": context})
        if moment != IDLE:
            ours.sendall(line[:50] if moment == HALF_ASKED else line)
        if moment in (RUNNING, REPORTING):
            select.select([ours], [], [], SOON)
        if moment == RUNNING:
            ours.recv(1024)
    with child:
        try:
            _, said = child.communicate(timeout=SOON)
        finally:
            child.kill()
    assert (said, child.returncode) == (b"", 0)
