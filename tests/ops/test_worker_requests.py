"""Requests of operators to workers under `sidelane up`: a drained process stays, and a restarted one is replaced."""

from collections.abc import Callable

import pytest

from sidelane.admin.workers import request_workers
from sidelane.model.job import State
from sidelane.model.worker import WorkerInfo
from sidelane.model.worker_request import WorkerAction
from tests.ops.service import Service, wait_until
from tests.system.shop import gate_of

pytestmark = [pytest.mark.system, pytest.mark.long]


def request(service: Service, worker: WorkerInfo, action: WorkerAction | None) -> None:
    (result,) = service.store.call(lambda store: request_workers(store, [worker.id], action))
    assert str(result.message).startswith("asked to"), result


def is_running(service: Service, job: str) -> Callable[[], bool]:
    return lambda: service.store.record(job).state is State.RUNNING


def test_restarted_worker_is_replaced_before_it_ends_and_loses_no_job(service: Service) -> None:
    assert service.up(service.worker("chat", processes=2))
    before = wait_until(service.store.workers, "the workers")
    job = service.store.submit("job", "hold", queue="default", arguments="{}")
    wait_until(is_running(service, job), "the start of the job")
    old = next(each for each in before if each.id == service.store.record(job).worker)
    request(service, old, WorkerAction.RESTART)
    wait_until(lambda: len(service.store.workers()) == 3, "the new process, beside the old one")
    (service.folder / gate_of("shop")).touch()
    wait_until(lambda: service.store.record(job).state is State.SUCCEEDED, "the end of the job")
    wait_until(lambda: old.id not in [each.id for each in service.store.workers()], "the end of the old process")
    record = service.store.record(job)
    assert (record.attempt, record.worker_losses) == (1, 0)
    (group,) = service.status().document["groups"]
    assert (group["target"], len(group["processes"]), group["restarts"]) == (2, 2, 0)


def test_drained_worker_stays_and_takes_jobs_again_when_it_is_resumed(service: Service) -> None:
    assert service.up(service.worker("chat"))
    (worker,) = wait_until(service.store.workers, "the worker")
    pids = service.pids()
    request(service, worker, WorkerAction.DRAIN)
    wait_until(lambda: service.store.workers()[0].health.startswith("drained"), "the end of its work")
    job = service.store.submit("job", "hold", queue="default", arguments="{}")
    (group,) = service.status().document["groups"]
    assert group["processes"][0]["error"].startswith("drained")
    assert service.store.record(job).state is State.QUEUED
    request(service, worker, None)
    wait_until(is_running(service, job), "the start of the job")
    assert [each.id for each in service.store.workers()] == [worker.id]
    assert service.pids() == pids
    (service.folder / gate_of("shop")).touch()
