"""`sidelane callbacks`: whom a job tells of its end, what became of it, and telling them again; and what `jobs show` says of it."""

import json

from sidelane import MessageCallback, Sidelane, Sqs, Webhook
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, Lease
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.worker import ClaimRequest
from sidelane.tasks.internal_queues import CALLBACK_QUEUE
from tests.cli.command import Command
from tests.cli.shelf import LEASE, WORKER, Shelf

HOOK = Webhook("https://be.example/jobs?token=s3cret", headers={"X-Team": "b"})
FAILURE = Failure(problem=Problem(status=502, title="Not delivered"), error="NotDelivered: be.example answered 500")


def submit(shelf: Shelf, job_id: str = "one") -> str:
    """Put a job in the store that has two callbacks."""
    lane = Sidelane(store=shelf.url)

    @lane.task
    async def answer(question: str) -> None: ...

    spec = answer.options(id=job_id, callback=[HOOK, MessageCallback(to=Sqs("ends"), on="failure")]).call("Why?").spec()
    shelf.call(lambda store: store.submit([spec]))
    return job_id


def claim(shelf: Shelf, job_id: str, queue: str = CALLBACK_QUEUE) -> Lease:
    request = ClaimRequest(request=new_nonce(), worker=WORKER.id, queues={queue: 1}, ids=(job_id,), lease=LEASE)
    (claimed,) = shelf.call(lambda store: store.claim(request)).jobs
    return claimed.lease


def fail(shelf: Shelf, job_id: str) -> None:
    shelf.finish(claim(shelf, job_id, "default"), Failed(FAILURE))


def test_show_tells_whom_a_job_will_tell_before_it_has_ended(shelf: Shelf, sidelane: Command) -> None:
    submit(shelf)
    said = sidelane("callbacks", "show", "one")
    assert said.code == 0
    assert "waits for the end" in said.out
    assert "https://be.example/jobs?…" in said.out
    assert "s3cret" not in said.out
    assert [
        (each["to"], each["on"], each["state"]) for each in sidelane("callbacks", "show", "one", "--json").json
    ] == [
        ("https://be.example/jobs?…", "end", None),
        ("SQS queue ends", "failure", None),
    ]


def test_show_tells_what_became_of_each(shelf: Shelf, sidelane: Command) -> None:
    fail(shelf, submit(shelf))
    shelf.finish(claim(shelf, "one.1.0"), Retried(FAILURE, 3600))
    shelf.finish(claim(shelf, "one.1.1"), Succeeded('{"status":200,"skipped":null}'))
    first, second = sidelane("callbacks", "show", "one", "--json").json
    assert (first["id"], first["state"], first["attempts"], first["status"]) == ("one.1.0", "queued", 1, None)
    assert (first["problem"], first["next_try"] is not None) == (FAILURE.error, True)
    assert (second["state"], second["status"], second["next_try"]) == ("succeeded", 200, None)
    for said in (sidelane("callbacks", "show", "one").out, sidelane("jobs", "show", "one").out):
        assert "retrying" in said
        assert "be.example answered 500" in said
    sheet = json.loads(sidelane("jobs", "show", "one", "--json").out)
    assert sheet["callbacks"] == [first, second]


def test_redeliver_brings_back_what_was_delivered_and_what_waits(shelf: Shelf, sidelane: Command) -> None:
    fail(shelf, submit(shelf))
    shelf.finish(claim(shelf, "one.1.0"), Retried(FAILURE, 3600))
    shelf.finish(claim(shelf, "one.1.1"), Succeeded("{}"))
    said = sidelane("callbacks", "redeliver", "one")
    assert (said.code, "2 to be delivered once more" in said.out) == (0, True)
    shelf.finish(claim(shelf, "one.1.0"), Succeeded("{}"))  # at once, and with all its tries
    assert sidelane("callbacks", "redeliver", "one.1.0", "--json").json[0]["callbacks"][0]["state"] == "queued"
    claim(shelf, "one.1.0")
    assert "right now" in sidelane("callbacks", "redeliver", "one.1.0").out


def test_what_has_no_callbacks_says_so(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("plain")
    assert "no callbacks" in sidelane("callbacks", "show", "plain").err
    assert sidelane("callbacks", "show", "plain", "--json").json == []
    assert sidelane("callbacks", "redeliver", "plain").code == 1
    assert sidelane("callbacks", "show", "nothing").code == 4
    said = sidelane("callbacks", "redeliver", "nothing", "plain", "--json")
    assert (said.code, [each["done"] for each in said.json]) == (4, [False, False])
