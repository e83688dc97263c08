"""A cause and an end of every kind of finding.

A case acts on a service. It yields the findings that the next evaluation should have, each as its key, or as `key <- cause`: first
before the cause, then directly after the cause, and at last directly after the end.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sidelane.admin.findings.evaluation import Rule
from sidelane.admin.findings.finding import digest
from sidelane.admin.findings.job_rules import callbacks, dead_letters, missed_schedules, poison_jobs, silent_attempts
from sidelane.admin.findings.monitor import AttentionMonitor
from sidelane.admin.findings.process_rules import blocked_loops, drained_workers, lost_workers, unhealthy_workers
from sidelane.admin.findings.queue_rules import (
    held_limits,
    missed_targets,
    paused_batches,
    throttled_tasks,
    unserved_jobs,
)
from sidelane.admin.findings.store_rules import changed_server, full_disk, full_store, undelivered_alerts
from sidelane.client.maintenance import PeriodicEnqueuer, report_worker_exit
from sidelane.model.batch import BatchSpec
from sidelane.model.event import NewEvent
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.model.outcome import Lost, Released, Retried
from sidelane.model.schedule import Schedule
from sidelane.model.settings import Settings
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK
from sidelane.telemetry import Telemetry
from tests.admin.service import FAILED, SWEEP_LEASE, WORKER, Service
from tests.callbacks.local_receivers import receiving, status
from tests.system.waiting import until

Steps = AsyncGenerator[set[str], None]

SQLITE, VALKEY = "sqlite", "valkey"

NO_GPU = "cannot open its resource llm: no GPU"

RESPONSE = (NewEvent("token", '{"text":"a"}'),)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to cause a finding of a rule, on some kinds of store."""

    rule: Rule
    steps: Callable[[Service], Steps]
    stores: tuple[str, ...]


CASES: list[Case] = []


def causes(rule: Rule, *stores: str) -> Callable[[Callable[[Service], Steps]], Callable[[Service], Steps]]:
    """Add a case of a rule. `stores` are the kinds of store on which the cause exists: by default all."""

    def add(steps: Callable[[Service], Steps]) -> Callable[[Service], Steps]:
        CASES.append(Case(rule, steps, stores or (SQLITE, VALKEY)))
        return steps

    return add


@causes(missed_targets)
async def job_waits_longer_than_the_target(service: Service) -> Steps:
    await service.declare(chat=10.0)
    await service.submit(3)
    service.clock.advance(10.0)
    yield set()
    service.clock.advance(0.1)
    yield {"target-wait:chat"}
    await service.run(3)
    yield set()


@causes(missed_targets)
async def target_wait_counts_neither_pauses_nor_due_times(service: Service) -> Steps:
    await service.declare(chat=10.0)
    await service.submit(delay=3600.0)
    await service.store.pause("chat")
    await service.submit()
    service.clock.advance(60.0)
    yield set()
    await service.store.pause("chat", False)
    service.clock.advance(10.0)
    yield set()
    service.clock.advance(0.1)
    yield {"target-wait:chat"}
    await service.store.pause("chat")
    yield set()


@causes(missed_targets)
async def target_is_missed_for_lack_of_a_worker(service: Service) -> Steps:
    await service.declare(chat=10.0)
    await service.stop_worker()
    await service.submit()
    yield set()
    service.clock.advance(10.1)
    yield {"target-wait:chat <- unserved-queue:chat", "unserved-queue:chat"}
    await service.beat()
    await service.run()
    yield set()


@causes(missed_targets)
async def target_is_missed_because_of_a_limit(service: Service) -> Steps:
    await service.declare(chat=10.0)
    limit = Limit(name="vllm", key="vllm", max=1, on_limit="wait")
    await service.submit(11, limits=(limit,))
    (running,) = await service.claim(11)
    await service.submit()
    yield {"limit:vllm/vllm"}
    service.clock.advance(10.1)
    yield {"target-wait:chat <- limit:vllm/vllm", "limit:vllm/vllm"}
    await service.run()
    await service.finish([running])
    await service.run()
    yield set()


@causes(unserved_jobs)
async def no_worker_serves_a_queue(service: Service) -> Steps:
    await service.submit(queue="tts")
    yield set()
    service.clock.advance(3.0)
    yield {"unserved-queue:tts"}
    await service.beat(id="w2", queues={"tts": 1})
    yield set()


@causes(unserved_jobs)
async def no_worker_knows_the_version_of_a_task(service: Service) -> Steps:
    await service.submit(version=2)
    yield set()
    service.clock.advance(3.0)
    yield {"unserved-task:chat:answer"}
    await service.beat(id="w2", tasks={"answer": 2})
    yield set()


@causes(held_limits)
async def limit_holds_ten_jobs(service: Service) -> Steps:
    limit = Limit(name="vllm", key="vllm", max=1, on_limit="wait")
    await service.submit(10, limits=(limit,))
    (running,) = await service.claim(10)
    yield set()
    await service.submit(limits=(limit,))
    await service.claim()
    yield {"limit:vllm/vllm"}
    await service.finish([running])
    await service.run()
    yield set()


@causes(throttled_tasks)
async def provider_refuses_calls_until_it_answers_again(service: Service) -> Steps:
    await service.submit(10)
    leases = await service.claim(10)
    await service.finish(leases[:9], Released(30.0), throttled=True)
    yield set()
    await service.finish(leases[9:], Released(30.0), throttled=True)
    yield {"provider:answer"}
    await service.sweep(60.0)  # by the minute: this is the first one without a refusal
    yield {"provider:answer"}
    await service.run(10)
    yield set()


@causes(throttled_tasks)
async def provider_that_nothing_calls_any_more_is_over_after_five_minutes(service: Service) -> Steps:
    ids = await service.submit(10)
    yield set()
    await service.finish(await service.claim(10), Released(600.0), throttled=True)
    yield {"provider:answer"}
    await service.store.cancel(ids)
    await service.sweep(360.0)  # the period, to the end of its minute
    yield set()


@causes(dead_letters)
async def job_fails_for_good(service: Service) -> Steps:
    (job,) = await service.submit()
    (lease,) = await service.claim()
    yield set()
    await service.finish([lease], FAILED)
    yield {f"dead-letters:answer:{digest(FAILED.failure.error, '')}"}
    await service.store.requeue([job])
    yield set()


@causes(poison_jobs)
async def job_costs_two_workers(service: Service) -> Steps:
    (job,) = await service.submit()
    yield set()
    await service.finish(await service.claim(), Lost(FAILED.failure))
    yield {"lost-workers"}
    await service.finish(await service.claim(), Lost(FAILED.failure))
    yield {"poison:chat", "lost-workers <- poison:chat"}
    (lease,) = await service.claim(isolated=True)
    yield {"poison:chat", "lost-workers <- poison:chat"}
    await service.store.cancel([job])
    await service.finish([lease], FAILED)
    await service.store.remove([job])
    yield {"lost-workers"}


@causes(silent_attempts)
async def attempt_of_a_task_with_events_is_silent(service: Service) -> Steps:
    await service.submit(20)
    leases = await service.claim(20)
    service.clock.advance(2.0)
    await service.finish(leases, entries=RESPONSE)
    await service.submit()
    leases = await service.claim()
    service.clock.advance(60.0)
    yield set()
    service.clock.advance(0.1)
    yield {"silent:answer"}
    await service.finish(leases)
    yield set()


@causes(silent_attempts)
async def attempt_of_a_task_without_events_runs_too_long(service: Service) -> Steps:
    await service.submit(20)
    leases = await service.claim(20)
    service.clock.advance(30.0)
    await service.finish(leases)
    await service.submit()
    leases = await service.claim()
    service.clock.advance(89.0)
    yield set()
    service.clock.advance(1.1)
    yield {"silent:answer"}
    await service.finish(leases)
    yield set()


@causes(callbacks)
async def callbacks_fail_until_they_are_delivered(service: Service) -> Steps:
    await service.submit(3, task=CALLBACK_TASK, queue=CALLBACK_QUEUE)
    leases = await service.claim(3, queue=CALLBACK_QUEUE)
    await service.finish(leases[:2], Retried(FAILED.failure, 30.0))
    yield set()
    await service.finish(leases[2:], Retried(FAILED.failure, 30.0))
    yield {"callbacks:failing"}
    await service.sweep(60.0)  # by the minute: this is the first one without a failure
    await service.run(3, queue=CALLBACK_QUEUE)
    yield set()


@causes(callbacks)
async def callback_waits_for_a_worker(service: Service) -> Steps:
    await service.submit(task=CALLBACK_TASK, queue=CALLBACK_QUEUE)
    service.clock.advance(60.0)
    yield set()
    service.clock.advance(0.1)
    yield {"callbacks:waiting"}
    await service.run(queue=CALLBACK_QUEUE)
    yield set()


@causes(callbacks)
async def callback_fails_for_good(service: Service) -> Steps:
    (job,) = await service.submit(task=CALLBACK_TASK, queue=CALLBACK_QUEUE, user="be.example.com:443")
    leases = await service.claim(queue=CALLBACK_QUEUE)
    yield set()
    await service.finish(leases, FAILED)
    yield {"callbacks:failed:be.example.com:443"}
    await service.store.requeue([job])
    yield set()


@causes(missed_schedules)
async def no_process_submits_the_jobs_of_a_schedule(service: Service) -> Steps:
    enqueuer = PeriodicEnqueuer(service.store, Telemetry())
    spec = JobSpec(id="nightly", task="answer", queue="chat")
    await service.store.upsert_schedule(Schedule(name="nightly", spec=spec, every=3600.0))
    await enqueuer.fire()
    service.clock.advance(3600.0)
    await service.beat()
    yield set()
    service.clock.advance(60.1)
    yield {"schedule:nightly"}
    await enqueuer.fire()
    yield set()


@causes(unhealthy_workers)
async def worker_has_an_error(service: Service) -> Steps:
    yield set()
    await service.beat(health=NO_GPU)
    yield {f"unhealthy:{digest(NO_GPU)}"}
    await service.beat()
    yield set()


@causes(unhealthy_workers)
async def unhealthy_worker_stops(service: Service) -> Steps:
    yield set()
    await service.beat(health=NO_GPU)
    yield {f"unhealthy:{digest(NO_GPU)}"}
    await service.stop_worker()
    yield set()


@causes(drained_workers)
async def operator_drains_a_worker(service: Service) -> Steps:
    yield set()
    await service.beat(request="drain", health="drained: it takes no jobs until an operator resumes it")
    yield {"drained-workers"}
    await service.beat()
    yield set()


@causes(paused_batches)
async def operator_pauses_a_batch(service: Service) -> Steps:
    await service.store.open_batch(BatchSpec(id="night"))
    await service.submit(3, batch="night")
    yield set()
    await service.store.pause_batch("night")
    assert await service.claim() == []
    yield {"paused-batches:chat"}
    await service.store.pause_batch("night", paused=False)
    yield set()


@causes(blocked_loops)
async def event_loop_is_late(service: Service) -> Steps:
    await service.beat(loop_lag=0.9)
    yield set()
    await service.beat(loop_lag=1.0)
    yield {"blocked-event-loop"}
    await service.beat()
    yield set()


@causes(lost_workers)
async def worker_is_silent(service: Service) -> Steps:
    await service.sweep(12.0)  # the first lease is over, in which sweeps expire nothing (rule 5)
    await service.submit()
    await service.claim(lease=5.0)
    await service.sweep(4.0)
    yield set()
    await service.sweep(4.0)
    yield {"lost-workers"}
    await service.run()
    await service.sweep(960.0)  # the period of 15 minutes, to the end of its minute
    yield set()


@causes(lost_workers)
async def worker_dies(service: Service) -> Steps:
    await service.submit()
    await service.claim()
    await service.sweep(4.0)
    yield set()
    await report_worker_exit(service.store, WORKER, "signal SIGSEGV", lease=SWEEP_LEASE)
    yield {"lost-workers"}
    await service.beat()
    await service.run()
    await service.sweep(960.0)  # the period of 15 minutes, to the end of its minute
    yield set()


@causes(lost_workers)
async def worker_runs_out_of_memory(service: Service) -> Steps:
    await service.submit()
    await service.claim()
    await service.beat(memory=600_000_000)
    await service.sweep(4.0)
    yield set()
    await report_worker_exit(service.store, WORKER, "signal SIGKILL, out of memory", lease=SWEEP_LEASE)
    yield {"out-of-memory"}
    await service.beat()
    await service.run()
    service.clock.advance(900.0)  # the period
    yield {"out-of-memory"}
    await service.sweep(60.0)  # its losses are counted by the minute
    yield set()


@causes(changed_server, VALKEY)
async def server_restarts(service: Service) -> Steps:
    yield set()
    service.server.stop()
    service.server.start()
    yield {"store-server"}
    service.clock.advance(3600.0)  # the period
    yield {"store-server"}
    service.clock.advance(0.1)
    yield set()


@causes(full_store, VALKEY)
async def server_has_little_memory_left(service: Service) -> Steps:
    limit = 3 * _memory_of(service)
    service.server.tell("CONFIG", "SET", "maxmemory", limit)
    try:
        await service.beat()
        yield set()
        jobs = []
        while _memory_of(service) < 0.82 * limit:
            jobs += await service.submit(arguments=f'["{"x" * 100_000}"]')
        yield {"store-size"}
        await service.store.cancel(jobs)
        await service.store.remove(jobs)
        await until(lambda: _memory_of(service) < 0.6 * limit, "the server has freed the memory")
        yield set()
    finally:
        service.server.tell("CONFIG", "SET", "maxmemory", 0)


@causes(full_disk, SQLITE)
async def disk_has_little_space_left(service: Service) -> Steps:
    # a test cannot fill the disk, so the answer of the system is replaced
    with pytest.MonkeyPatch.context() as system:
        usage = shutil.disk_usage("/")
        system.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000_000))
        yield set()
        system.setattr(shutil, "disk_usage", lambda _: usage._replace(free=999_999_999))
        yield {"store-disk"}
        system.undo()
    yield set()


@causes(undelivered_alerts)
async def alerts_do_not_arrive(service: Service) -> Steps:
    sick = f"unhealthy:{digest(NO_GPU)}"
    async with receiving() as receiver:
        settings = Settings(alert_url=receiver.url, alert_after=0.0, allow_private_callbacks=True)
        receiver.usual = status(503)
        await service.beat(health=NO_GPU)
        yield {sick}
        async with _monitor(service, settings):
            await receiver.until(1)
        yield {sick, "alerts"}
        service.clock.advance(5.0)  # the time of the next try
        receiver.usual = status(200)
        async with _monitor(service, settings):
            await receiver.until(2)
        yield {sick}


def _memory_of(service: Service) -> int:
    return int(service.server.info("memory")["used_memory"])


@asynccontextmanager
async def _monitor(service: Service, settings: Settings) -> AsyncIterator[None]:
    """Evaluate and send alerts in the background. The evaluation in progress ends with the block."""
    monitor = AttentionMonitor(service.store, settings, interval=0.02)
    async with asyncio.TaskGroup() as group:
        group.create_task(monitor.run())
        yield
        monitor.stop()
    await monitor.close()
