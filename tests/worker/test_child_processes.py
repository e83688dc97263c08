"""Tasks in child processes: reuse, timeouts, events, submits."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from contextlib import aclosing
from typing import Any, cast

import pytest

from sidelane import PREVIOUS_FAILURE, PREVIOUS_RESULT, JobCancelled, JobFailed, Sidelane
from sidelane.worker.child_protocol import pack, write_line
from tests.worker.process_tasks import (
    block,
    conflicting,
    die,
    double,
    fail,
    following,
    polite,
    spin,
    stream,
    submitting,
    submitting_from_a_thread,
    tell_previous,
    where,
)

TIMEOUT = 20.0


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_child_process_and_its_resources_are_reused(running: Sidelane) -> None:
    first, model = await (await where.submit()).result(TIMEOUT)
    assert first != os.getpid()
    assert model == f"model of {first}"
    assert await (await where.submit()).result(TIMEOUT) == (first, model)


async def test_events_of_a_child_are_written_while_it_runs(running: Sidelane) -> None:
    job = await running.submit(stream.options(user="u1").call())
    assert await job.result(TIMEOUT) == "done"
    assert [(event.name, event.data) async for event in job.events()][:2] == [
        ("progress", '{"percent":50,"message":"half"}'),
        ("seen", '"u1"'),
    ]


async def test_timeout_kills_the_child(running: Sidelane) -> None:
    with pytest.raises(JobFailed, match=r"did not end within 0\.5 seconds"):
        await (await spin.submit()).result(TIMEOUT)


async def test_timed_out_child_process_exits(running: Sidelane) -> None:
    job = await block.submit()
    async with aclosing(job.events()) as events:
        pid = int((await anext(events)).data)
    assert not gone(pid)
    with pytest.raises(JobFailed, match="did not end within"):
        await job.result(TIMEOUT)
    async with asyncio.timeout(5):
        while not gone(pid):
            await asyncio.sleep(0.01)


async def test_cancel_reaches_the_child(running: Sidelane) -> None:
    job = await polite.submit()
    async with aclosing(job.events()) as events:
        assert (await anext(events)).name == "progress"
    await job.cancel()
    with pytest.raises(JobCancelled):
        await job.result(TIMEOUT)


async def test_child_that_dies_is_reported_as_a_worker_loss_at_once(running: Sidelane) -> None:
    job = await die.submit()
    with pytest.raises(JobFailed, match="crashed its worker too many times"):
        await job.result(TIMEOUT)
    record = await job.record()
    assert (record.attempt, record.failures, record.worker_losses, record.isolated) == (2, 0, 2, True)
    assert ["exit status 3" in each.error for each in record.history] == [True, True]


async def test_error_message_of_a_child_is_for_operators_only(running: Sidelane) -> None:
    job = await fail.submit()
    with pytest.raises(JobFailed) as failed:
        await job.result(TIMEOUT)
    record = await job.record()
    assert record.history[0].error == "ValueError: in the child"
    assert "in the child" not in str(failed.value.problem().document())


async def test_task_in_a_child_submits_jobs(running: Sidelane) -> None:
    job = await running.submit(submitting.options(user="u1").call(3))
    ids = await job.result(TIMEOUT)
    assert [await double.job(each).result(TIMEOUT) for each in ids] == [0, 2, 4]
    spec = (await double.job(ids[0]).record()).spec
    assert (spec.parent, spec.user) == (job.id, "u1")


async def test_thread_task_in_a_child_waits_for_its_submit(running: Sidelane) -> None:
    await running.submit(double.options(id="d", user="u1").call(1))
    job = await running.submit(submitting_from_a_thread.options(user="u1").call())
    child, created = await job.result(TIMEOUT)
    record = await double.job(child).record()
    assert (record.spec.parent, record.spec.user, created) == (job.id, "u2", False)


async def test_task_in_a_child_has_only_the_ids_of_submitted_jobs(running: Sidelane) -> None:
    job = await following.submit()
    with pytest.raises(JobFailed):
        await job.result(TIMEOUT)
    assert (
        "LaneNotOpen: A task with process=True has only the ids of the jobs it submits"
        in (await job.record()).history[0].error
    )


async def test_rejected_submit_raises_in_the_child(running: Sidelane) -> None:
    await running.submit(double.options(id="taken", user="u1").call(1))
    assert await (await conflicting.submit()).result(TIMEOUT) == "The id of this job is taken."


async def test_child_receives_previous_result_and_failure(running: Sidelane) -> None:
    job = await double.options(then=tell_previous.call(PREVIOUS_RESULT)).submit(4)
    await job.result(TIMEOUT)
    assert await tell_previous.job(f"{job.id}.1.0").result(TIMEOUT) == (8, "")
    failed = await fail.options(on_failure=tell_previous.call(1, PREVIOUS_FAILURE)).submit()
    with pytest.raises(JobFailed):
        await failed.result(TIMEOUT)
    assert await tell_previous.job(f"{failed.id}.1.0").result(TIMEOUT) == (1, "ValueError: in the child")


IDLE, RUNNING, REPORTING, HALF_REQUESTED = (
    "it is idle",
    "it runs a task",
    "its output was not read",
    "its request was incomplete",
)


@pytest.mark.parametrize("moment", [IDLE, RUNNING, REPORTING, HALF_REQUESTED])
def test_child_of_a_killed_worker_exits_silently(moment: str) -> None:
    ours, theirs = socket.socketpair()
    for_stacks, their_end = socket.socketpair()
    with ours, theirs, for_stacks, their_end:
        descriptors = [theirs.fileno(), their_end.fileno()]
        child = subprocess.Popen(
            [sys.executable, "-m", "sidelane.worker.child_main", *map(str, descriptors)],
            pass_fds=descriptors, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        ours.sendall(pack({"prepare": [polite.function.__module__, polite.name]}))
        assert b"ready" in ours.recv(1024)
        context = {"job_id": "j", "task": polite.name, "queue": "default", "attempt": 1}
        request = {"task": polite.name, "arguments": "{}", "version": 1, "failures": 0, "log_size": 0}
        line = pack({**request, "context": context})
        if moment != IDLE:
            ours.sendall(line[:50] if moment == HALF_REQUESTED else line)
        if moment in (RUNNING, REPORTING):
            select.select([ours], [], [], TIMEOUT)
        if moment == RUNNING:
            ours.recv(1024)
    with child:
        try:
            _, stderr = child.communicate(timeout=TIMEOUT)
        finally:
            child.kill()
    assert (stderr, child.returncode) == (b"", 0)


async def test_writes_to_a_child_that_is_gone_are_ignored_on_every_event_loop() -> None:
    class Reset:
        """A writer whose socket was reset, as on uvloop."""

        def write(self, line: bytes) -> None:
            raise RuntimeError("unable to perform operation on a closed transport")

    write_line(cast(Any, Reset()), b"{}")
