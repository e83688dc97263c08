"""Submits: one durable job per id, one result per spec."""

from dataclasses import replace
from typing import Any

from sidelane.conformance.stores.actions import (
    claim_job,
    finish,
    rate_limit,
    record,
    slot_limit,
    specs,
    start,
    submit,
    submit_rejected,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.batch import BatchSpec
from sidelane.model.job import (
    DAY,
    FINISHED,
    MAX_LABEL_NAME,
    MAX_LABELS,
    MAX_TEXT,
    REMOVED,
    FollowUp,
    JobRecord,
    JobSpec,
    Rejection,
    State,
    Submission,
    Tombstone,
)
from sidelane.model.outcome import Succeeded
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class Submits(StoreSuite):
    """New and existing jobs."""

    async def test_a_submitted_job_is_queued(self, store: Store, clock: ManualClock) -> None:
        (job,) = await submit(store, *specs("a"))
        assert job == await record(store, "a")
        assert (job.state, job.attempt, job.failures, job.worker_losses, job.ends, job.last) == (
            State.QUEUED,
            0,
            0,
            0,
            0,
            0,
        )
        assert (job.started, job.ended, job.worker, job.cancel_requested) == (None, None, None, False)
        assert (job.progress, job.result, job.problem, job.history) == (None, None, None, ())
        assert job.submitted == clock()

    async def test_a_job_keeps_every_field_of_its_spec(self, store: Store) -> None:
        call_back = JobSpec(id="", task="call_back", queue="callbacks", arguments='{"to": "\u00e9"}', retention=2 * DAY)
        notify = JobSpec(id="", task="tell", follow_ups=(FollowUp(FINISHED, call_back),))
        spec = JobSpec(
            id="a.b_c~d-1",
            task="answer",
            version=3,
            arguments='{"text": "\\u0000 \u4f60\u597d \U0001f600", "n": 1.5}',
            queue="chat",
            user="someone@example.org",
            priority=-7,
            key="chat:1",
            unique="only",
            labels={"tier": "gold", "\u00fc": ""},
            delay=0.0,
            run_at=12.5,
            expires=60.0,
            deadline=3600.0,
            max_worker_losses=0,
            retention=DAY,
            abandon_after=30.0,
            parent="its-parent",
            trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            follow_ups=(FollowUp(frozenset({State.FAILED}), call_back), FollowUp(REMOVED, notify)),
            limits=(
                slot_limit(2, "reject", key="\u00e9 /:'"),
                slot_limit(1, "wait", "w"),
                rate_limit(3, 7.5, "reject", burst=2),
            ),
            max_queued=7,
            batch="many",
            cascade=True,
            placeholders={"text": "result", "who": "failure.problem"},
            id_retention=2.5 * DAY,
        )
        await store.open_batch(BatchSpec(id="many"))
        await submit(store, spec)
        assert (await record(store, spec.id)).spec == spec

    async def test_an_empty_text_in_an_optional_field_is_rejected(self, store: Store) -> None:
        for mark in ("user", "key", "unique", "parent", "trace", "batch"):
            marked: dict[str, Any] = {mark: ""}
            refused = await submit_rejected(store, JobSpec(id="a", task="t", **marked))
            assert mark in refused.problem.detail
        assert await store.get(["a"]) == [None]

    async def test_texts_and_labels_have_bounds(self, store: Store) -> None:
        most = {f"label-{number}": "" for number in range(MAX_LABELS - 1)} | {"n" * MAX_LABEL_NAME: "v" * MAX_TEXT}
        (largest,) = specs("a")
        largest = replace(largest, user="ü" * MAX_TEXT, key="k" * MAX_TEXT, labels=most)
        await submit(store, largest)
        assert (await record(store, "a")).spec == largest
        excessive: list[tuple[dict[str, Any], str]] = [
            ({name: "x" * (MAX_TEXT + 1)}, f"The {name} has 513 characters")
            for name in ("task", "queue", "user", "key", "unique", "parent", "trace", "batch")
        ]
        excessive += [
            ({"labels": most | {"one-more": ""}}, "There are 65 labels"),
            ({"labels": {"n" * (MAX_LABEL_NAME + 1): ""}}, "a name of 129 characters"),
            ({"labels": {"": ""}}, "a name of 0 characters"),
            ({"labels": {"name": "v" * (MAX_TEXT + 1)}}, "a value of 513 characters"),
        ]
        for fields, reason in excessive:
            refused = await submit_rejected(store, replace(largest, id="b", **fields))
            assert refused.problem.status == 422
            assert reason in refused.problem.detail
        assert await store.get(["b"]) == [None]

    async def test_submitting_an_id_twice_makes_one_job(self, store: Store) -> None:
        await submit(store, *specs("a", user="u"))
        (again,) = await store.submit([JobSpec(id="a", task="other", user="u")])
        assert isinstance(again, Submission)
        assert not again.created
        assert again.record == await record(store, "a")
        assert again.record.spec.task == "t"

    async def test_the_same_id_twice_in_one_call_makes_one_job(self, store: Store) -> None:
        (one,) = specs("b")
        answers = await store.submit([*specs("a", "a"), one, one])
        assert [answer.created for answer in answers if isinstance(answer, Submission)] == [True, False, True, False]

    async def test_a_known_id_returns_its_job_even_after_the_end(self, store: Store) -> None:
        await finish(store, await start(store, *specs("a")), Succeeded("1"))
        (again,) = await store.submit(specs("a"))
        assert isinstance(again, Submission)
        assert (again.created, again.record.state, again.record.result) == (False, State.SUCCEEDED, "1")

    async def test_an_empty_call_returns_an_empty_list(self, store: Store) -> None:
        assert await store.submit([]) == []
        assert await store.get([]) == []
        assert await store.cancel([]) == []
        assert await store.requeue([]) == []
        assert await store.append([]) == []
        assert await store.finish([]) == []

    async def test_answers_come_in_the_order_of_the_specs_and_age_is_that_order(self, store: Store) -> None:
        records = await submit(store, *specs("c", "a", "b"))
        assert [job.id for job in records] == ["c", "a", "b"]
        assert sorted(records, key=lambda job: job.sequence) == records

    async def test_age_is_the_stores_own_sequence_whatever_the_clock_says(
        self, store: Store, clock: ManualClock
    ) -> None:
        (first,) = await submit(store, *specs("a"))
        clock.advance(-3600)
        (second,) = await submit(store, *specs("b"))
        assert first.sequence < second.sequence

    async def test_get_returns_records_in_order_and_none_for_an_unknown_job(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        found = await store.get(["b", "unknown", "a", "b"])
        assert [None if job is None else job.id for job in found] == ["b", None, "a", "b"]
        assert not any(isinstance(job, Tombstone) for job in found)


class UniqueKeys(StoreSuite):
    """One unfinished job per user and unique key."""

    async def test_a_unique_key_that_is_taken_returns_the_job_that_has_it(self, store: Store) -> None:
        await submit(store, JobSpec(id="a", task="t", user="u", unique="k"))
        (answer,) = await store.submit([JobSpec(id="b", task="t", user="u", unique="k")])
        assert isinstance(answer, Submission)
        assert (answer.created, answer.record.id) == (False, "a")
        assert await store.get(["b"]) == [None]

    async def test_a_unique_key_stays_taken_while_its_job_runs(self, store: Store) -> None:
        await start(store, JobSpec(id="a", task="t", unique="k"))
        (answer,) = await store.submit([JobSpec(id="b", task="t", unique="k")])
        assert isinstance(answer, Submission)
        assert (answer.created, answer.record.id) == (False, "a")

    async def test_a_unique_key_used_twice_in_one_call_makes_one_job(self, store: Store) -> None:
        wanted = [JobSpec(id=job_id, task="t", unique="k") for job_id in ("a", "b")]
        answers = await store.submit(wanted)
        assert [(each.record.id, each.created) for each in answers if isinstance(each, Submission)] == [
            ("a", True),
            ("a", False),
        ]

    async def test_a_unique_key_is_free_once_its_job_has_ended(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", unique="k")), Succeeded("1"))
        await submit(store, JobSpec(id="b", task="t", unique="k"))
        await store.cancel(["b"])
        await submit(store, JobSpec(id="c", task="t", unique="k"))

    async def test_a_unique_key_belongs_to_one_user(self, store: Store) -> None:
        wanted = [JobSpec(id=f"job-{user}", task="t", user=user, unique="k") for user in ("u", "v", None)]
        await submit(store, *wanted)

    async def test_a_known_id_takes_precedence_over_its_unique_key(self, store: Store) -> None:
        await finish(store, await start(store, JobSpec(id="a", task="t", unique="k")), Succeeded("1"))
        await submit(store, JobSpec(id="b", task="t", unique="k"))
        (answer,) = await store.submit([JobSpec(id="a", task="t", unique="k")])
        assert isinstance(answer, Submission)
        assert answer.record.id == "a"


class ChunkedCalls(StoreSuite):
    """Large calls run in chunks; each item is atomic and has its own result (rule 16)."""

    async def test_a_call_of_a_thousand_items_returns_a_result_for_each(self, store: Store) -> None:
        many = [f"j{n}" for n in range(1000)]
        records = await submit(store, *specs(*many))
        assert [job.id for job in records] == many
        assert all(isinstance(job, JobRecord) for job in await store.get(many))
        cancelled = await store.cancel(many)
        assert [job.id for job in cancelled if job and job.state is State.CANCELLED] == many
        requeued = await store.requeue(many)
        assert [job.id for job in requeued if isinstance(job, JobRecord) and job.state is State.QUEUED] == many

    async def test_a_call_of_several_mebibytes_returns_a_result_for_each(self, store: Store) -> None:
        large = '{"text": "' + "x" * 200_000 + '"}'
        await submit(store, *(JobSpec(id=f"j{n}", task="t", arguments=large) for n in range(20)))
        assert (await record(store, "j19")).spec.arguments == large

    async def test_an_invalid_item_is_rejected_and_does_not_affect_the_others(self, store: Store) -> None:
        broken = JobSpec(id="not an id", task="t"), JobSpec(id="half", task="t", key="\ud800")
        first, second, third = await store.submit([broken[0], *specs("a"), broken[1]])
        for refused in first, third:
            assert isinstance(refused, Rejection)
            assert refused.problem.status == 422
        assert isinstance(second, Submission)
        assert await store.get(["half"]) == [None]

    async def test_an_item_with_an_existing_job_does_not_affect_the_others(self, store: Store) -> None:
        await submit(store, *specs("b"))
        answers = await store.submit(specs("a", "b", "c"))
        assert [each.created for each in answers if isinstance(each, Submission)] == [True, False, True]
        await claim_job(store, "c")
