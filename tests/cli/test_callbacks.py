"""`sidelane callbacks`: show and redeliver. `sidelane jobs show` prints callbacks too."""

import json

from sidelane import MessageCallback, Sidelane, Sqs, Webhook
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, Lease
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.tasks.internal_queues import CALLBACK_QUEUE
from tests.cli.command import Command
from tests.cli.store_driver import LEASE, WORKER, StoreDriver

HOOK = Webhook("https://be.example/jobs?token=s3cret", headers={"X-Team": "b"})
FAILURE = Failure(problem=Problem(status=502, title="Not delivered"), error="NotDelivered: be.example answered 500")


def submit(driver: StoreDriver, job_id: str = "one") -> str:
    """Submit a job with two callbacks."""
    lane = Sidelane(store=driver.url)

    @lane.task
    async def answer(question: str) -> None: ...

    spec = answer.options(id=job_id, callback=[HOOK, MessageCallback(to=Sqs("ends"), on="failure")]).call("Why?").spec()
    driver.call(lambda store: store.submit([spec]))
    return job_id


def claim(driver: StoreDriver, job_id: str, queue: str = CALLBACK_QUEUE) -> Lease:
    request = ClaimRequest(request=new_nonce(), worker=WORKER.id, queues={queue: 1}, ids=(job_id,), lease=LEASE)
    (claimed,) = driver.call(lambda store: store.claim(request)).jobs
    return claimed.lease


def fail(driver: StoreDriver, job_id: str) -> None:
    driver.finish(claim(driver, job_id, "default"), Failed(FAILURE))


def test_show_lists_receivers_before_the_job_has_ended(driver: StoreDriver, sidelane: Command) -> None:
    submit(driver)
    result = sidelane("callbacks", "show", "one")
    assert result.exit_code == 0
    assert "waiting for the job" in result.stdout
    assert "https://be.example/jobs?…" in result.stdout
    assert "s3cret" not in result.stdout
    assert [
        (each["to"], each["on"], each["state"]) for each in sidelane("callbacks", "show", "one", "--json").json
    ] == [
        ("https://be.example/jobs?…", "end", None),
        ("SQS queue ends", "failure", None),
    ]


def test_show_prints_the_state_of_each_callback(driver: StoreDriver, sidelane: Command) -> None:
    fail(driver, submit(driver))
    driver.finish(claim(driver, "one.1.0"), Retried(FAILURE, 3600))
    driver.finish(claim(driver, "one.1.1"), Succeeded('{"status":200,"skipped":null}'))
    first, second = sidelane("callbacks", "show", "one", "--json").json
    assert (first["id"], first["state"], first["attempts"], first["status"]) == ("one.1.0", "queued", 1, None)
    assert (first["problem"], first["next_try"] is not None) == (FAILURE.error, True)
    assert (second["state"], second["status"], second["next_try"]) == ("succeeded", 200, None)
    for result in (sidelane("callbacks", "show", "one").stdout, sidelane("jobs", "show", "one").stdout):
        assert "retrying" in result
        assert "be.example answered 500" in result
    sheet = json.loads(sidelane("jobs", "show", "one", "--json").stdout)
    assert sheet["callbacks"] == [first, second]


def test_redeliver_requeues_delivered_and_waiting_callbacks(driver: StoreDriver, sidelane: Command) -> None:
    fail(driver, submit(driver))
    driver.finish(claim(driver, "one.1.0"), Retried(FAILURE, 3600))
    driver.finish(claim(driver, "one.1.1"), Succeeded("{}"))
    result = sidelane("callbacks", "redeliver", "one")
    assert (result.exit_code, "2 queued for delivery" in result.stdout) == (0, True)
    driver.finish(claim(driver, "one.1.0"), Succeeded("{}"))  # it is due now and has all its tries
    assert sidelane("callbacks", "redeliver", "one.1.0", "--json").json[0]["callbacks"][0]["state"] == "queued"
    claim(driver, "one.1.0")
    assert "already running" in sidelane("callbacks", "redeliver", "one.1.0").stdout


def test_a_job_without_callbacks_is_reported(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("plain")
    assert "no callbacks" in sidelane("callbacks", "show", "plain").stderr
    assert sidelane("callbacks", "show", "plain", "--json").json == []
    assert sidelane("callbacks", "redeliver", "plain").exit_code == 1
    assert sidelane("callbacks", "show", "nothing").exit_code == 4
    result = sidelane("callbacks", "redeliver", "nothing", "plain", "--json")
    assert (result.exit_code, [each["done"] for each in result.json]) == (4, [False, False])


def test_list_shows_the_newest_callbacks_of_all_jobs(driver: StoreDriver, sidelane: Command) -> None:
    fail(driver, submit(driver))
    fail(driver, submit(driver, "two"))
    driver.finish(claim(driver, "one.1.0"), Failed(FAILURE))
    documents = sidelane("callbacks", "--json").json
    assert {each["job"] for each in documents} == {"one", "two"}
    assert len(documents) == 4
    receiver = "be.example:443"
    assert {each["id"] for each in sidelane("callbacks", "list", "--receiver", receiver, "--json").json} == {
        "one.1.0", "two.1.0",
    }  # fmt: skip
    table = sidelane("callbacks", env={"COLUMNS": "80"}).stdout
    assert "s3cret" not in table
    assert max(map(len, table.splitlines())) <= 80
    assert "such a callback" in sidelane("callbacks", "--receiver", "gone").stderr


def test_receivers_that_callbacks_do_not_reach_are_listed(driver: StoreDriver, sidelane: Command) -> None:
    fail(driver, submit(driver))
    assert "reach their receivers" in sidelane("callbacks", "receivers").stderr
    driver.finish(claim(driver, "one.1.0"), Failed(FAILURE))
    driver.finish(claim(driver, "one.1.1"), Retried(FAILURE, 3600))
    found = {
        each["receiver"]: (each["failed"], each["retrying"])
        for each in sidelane("callbacks", "receivers", "--json").json
    }
    assert found == {"be.example:443": (1, 0), str(Sqs("ends")): (0, 1)}
    table = sidelane("callbacks", "receivers", env={"COLUMNS": "80"}).stdout
    assert "be.example answered 500" in table
    assert max(map(len, table.splitlines())) <= 80
