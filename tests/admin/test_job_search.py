"""Search of jobs: pages that never look at more than a bounded number of jobs."""

from sidelane.admin.job_search import CHUNK_SIZE, MAX_READ, MAX_SEARCHED, FoundJobs, search_jobs
from sidelane.admin.jobs import JobFilter, JobView
from sidelane.conformance.stores.actions import submit
from sidelane.model.job import JobSpec, Query
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from tests.admin.clocked_store import clock, store

__all__ = ["clock", "store"]


def job_filter(query: Query, *views: JobView, since: float | None = None, until: float | None = None) -> JobFilter:
    return JobFilter(query=query, views=frozenset(views) or None, since=since, until=until)


def ids(found: FoundJobs) -> list[str]:
    return [record.id for record in found.records]


async def test_pages_continue_without_a_gap_and_leave_out_internal_jobs(store: Store) -> None:
    await submit(
        store, *(JobSpec(id=f"j{n}", task="t", queue="sidelane.callbacks" if n % 2 else "x") for n in range(700))
    )
    pages: list[str] = []
    before: int | None = None
    while True:
        found = await search_jobs(store, job_filter(Query(before=before)), 50)
        assert found.complete
        pages += ids(found)
        if (before := found.before) is None:
            break
    assert pages == [f"j{n}" for n in range(698, -1, -2)]


async def test_last_page_that_is_full_has_no_next_page(store: Store) -> None:
    await submit(store, *(JobSpec(id=f"j{n}", task="t") for n in range(50)))
    found = await search_jobs(store, job_filter(Query()), 50)
    assert (len(found.records), found.before) == (50, None)


async def test_rare_job_is_found_where_the_search_continues(store: Store) -> None:
    await submit(store, JobSpec(id="rare", task="t", queue="rare"))
    await submit(store, *(JobSpec(id=f"j{n}", task="t", user="ann") for n in range(MAX_SEARCHED + 500)))
    found = await search_jobs(store, job_filter(Query(queue="rare")), 50)
    assert (found.records, found.searched, found.complete) == ([], MAX_SEARCHED, False)
    older = await search_jobs(store, job_filter(Query(queue="rare", before=found.before)), 50)
    assert (ids(older), older.complete, older.before) == (["rare"], True, None)
    views = await search_jobs(store, job_filter(Query(user="ann"), JobView.SCHEDULED), 50)
    assert (views.records, views.complete) == ([], False)
    assert MAX_READ <= views.searched <= MAX_READ + CHUNK_SIZE


async def test_jobs_of_a_period_are_found_wherever_they_are(store: Store, clock: ManualClock) -> None:
    times = []
    for number in range(60):
        times.append(clock())
        await submit(store, JobSpec(id=f"j{number}", task="t"))
        clock.advance(10)
    found = await search_jobs(store, job_filter(Query(), since=times[10], until=times[13]), 50)
    assert (ids(found), found.searched) == (["j12", "j11", "j10"], 3)
    assert ids(await search_jobs(store, job_filter(Query(), until=times[2]), 50)) == ["j1", "j0"]
    assert ids(await search_jobs(store, job_filter(Query(), since=times[58]), 50)) == ["j59", "j58"]
    assert ids(await search_jobs(store, job_filter(Query(), since=clock() + 1), 50)) == []
    assert ids(await search_jobs(store, job_filter(Query(), until=times[0]), 50)) == []


async def test_empty_store_has_no_jobs(store: Store) -> None:
    found = await search_jobs(store, job_filter(Query(text="x"), since=1.0), 50)
    assert (found.records, found.before, found.complete) == ([], None, True)
