"""Hypothesis strategies: random jobs, events and outcomes."""

from dataclasses import replace

from hypothesis import strategies as st

from sidelane.model.batch import BatchSpec
from sidelane.model.event import LOG, NewEvent
from sidelane.model.job import FINISHED, MAX_LOG_SIZE, REMOVED, Failure, FollowUp, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Cancelled, Dispatched, Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem

WORKERS = ("w1", "w2")
BROKEN = Failure(problem=Problem(status=500, detail="it broke"))

WAIT = Limit(name="few", key="k", max=1, on_limit="wait")
GPU = Limit(name="gpu", key="k", max=2, on_limit="wait")
REJECT = Limit(name="few", key="k", max=2, on_limit="reject")
REPLACE = Limit(name="chat", key="k", max=1, on_limit="replace")
SUBMIT_RATE = Limit(name="asked", key="k", max=1, on_limit="reject", window=7.1, burst=2)
START_RATE = Limit(name="spread", key="k", max=1, on_limit="wait", window=7.1, burst=1)
AT_START = (WAIT, GPU, REPLACE, START_RATE)

changed_limits = st.sampled_from([("few", None), ("few", "k"), ("gpu", None), ("chat", "k")])
job_ids = st.sampled_from("abcdefghijkl")
queues = st.sampled_from("xy")
workers = st.sampled_from(WORKERS)
numbers = st.integers(0, 1_000)
isolation = st.sampled_from([False, False, True])
delays = st.sampled_from([0.0, 0.0, 0.0, 5.0, 13.0])
entries = st.lists(
    st.builds(
        NewEvent, st.sampled_from(["token", "progress", "stage", LOG]), st.sampled_from(['"x"', "1", '{"n": null}'])
    ),
    max_size=3,
).map(tuple)
timeouts = st.sampled_from([5.0, 13.0, 37.0, 500.0])
dispatch_jobs = st.builds(
    JobSpec,
    id=st.just(""),
    task=st.just("send"),
    queue=queues,
    retention=st.sampled_from([23.0, 500.0]),
    limits=st.sampled_from([(), (), (WAIT,)]),
    max_worker_losses=st.just(9),
    cascade=st.booleans(),
)
dispatches = st.builds(Dispatched, timeouts, dispatch_jobs)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Succeeded, st.sampled_from(["1", '{"n": 2}', "null"])),
    st.builds(Retried, st.just(BROKEN), delays),
    st.just(Failed(BROKEN)),
    st.just(Cancelled()),
    st.builds(Released, delays),
    st.just(Lost(BROKEN)),
    dispatches,
)
limits = st.sampled_from(
    [
        (),
        (),
        (),
        (WAIT,),
        (WAIT, GPU),
        (GPU, WAIT),
        (REJECT,),
        (REJECT, GPU),
        (REPLACE,),
        (SUBMIT_RATE,),
        (START_RATE, GPU),
    ]
)
follow_ups = st.lists(
    st.builds(
        FollowUp,
        st.sampled_from([FINISHED, REMOVED, frozenset({State.SUCCEEDED}), frozenset({State.FAILED, State.CANCELLED})]),
        st.builds(
            JobSpec,
            id=st.just(""),
            task=st.just("follow"),
            user=st.just("w"),
            queue=queues,
            retention=st.sampled_from([23.0, 500.0]),
            limits=st.sampled_from([(), (), (WAIT,)]),
        ),
    ),
    max_size=2,
).map(tuple)


def _without_undefined_order(spec: JobSpec) -> JobSpec:
    """Remove options whose result depends on the order of parents and children within a sweep, or that replace their parent."""
    if spec.cascade and spec.limits != (REPLACE,):
        return replace(spec, max_worker_losses=9, expires=None, deadline=None)
    return replace(spec, cascade=False)


specs = st.builds(
    JobSpec,
    id=job_ids,
    task=st.just("t"),
    version=st.sampled_from([1, 1, 2]),
    queue=queues,
    user=st.sampled_from([None, "u", "v"]),
    priority=st.sampled_from([0, 0, 5, -5]),
    unique=st.sampled_from([None, None, None, "k"]),
    delay=delays,
    expires=st.sampled_from([None, None, None, 17.0]),
    deadline=st.sampled_from([None, None, None, 31.0]),
    max_worker_losses=st.sampled_from([0, 1, 3]),
    isolable=st.sampled_from([True, True, False]),
    retention=st.sampled_from([500.0, 500.0, 23.0]),
    abandon_after=st.sampled_from([None, None, None, 7.0]),
    parent=st.sampled_from([None, None, None, "a", "b"]),
    follow_ups=follow_ups,
    limits=limits,
    max_queued=st.sampled_from([None, None, None, 3]),
    max_log_size=st.sampled_from([MAX_LOG_SIZE, MAX_LOG_SIZE, 0, 20]),
    batch=st.sampled_from([None, None, "m"]),
    cascade=st.booleans(),
).map(_without_undefined_order)
batches = st.builds(BatchSpec, id=st.just("m"), follow_ups=follow_ups)
