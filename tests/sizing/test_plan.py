"""Plans: a load on paper on machines of the table, and what to do if it does not fit."""

import pytest

from sidelane.sizing.machines import MACHINES, Machine, machine_named, smallest_that_fits
from sidelane.sizing.plan import PlannedLoad, plan, rule_of_thumb

GB = 1_000_000_000


def test_streams_of_a_language_model_need_many_slots_and_few_processes() -> None:
    fit = plan(PlannedLoad(rate=5, seconds=120, stream=True), machine_named("t3.medium"))
    api, worker = fit.services
    assert (api.processes, worker.processes, worker.slots) == (2, 1, 800)
    assert not fit.fits
    assert fit.on_credits
    assert fit.larger == machine_named("t3.xlarge")
    assert fit.count == 4


def test_computing_jobs_need_a_core_each() -> None:
    fit = plan(PlannedLoad(rate=2, seconds=1.0, cpu=1.0), machine_named("c7i.xlarge"))
    assert fit.services[1].processes == 3
    assert fit.fits
    assert not fit.on_credits


def test_what_fits_on_no_machine_of_the_family_fits_on_one_of_another() -> None:
    fit = plan(PlannedLoad(rate=10, seconds=1.0, cpu=1.0), machine_named("t3.medium"))
    assert fit.larger == machine_named("c7i.4xlarge")
    assert plan(PlannedLoad(rate=10, seconds=1.0, cpu=1.0), machine_named("t4g.medium")).larger == machine_named(
        "c7g.4xlarge"
    )
    assert smallest_that_fits(1000, GB) is None


def test_process_that_is_larger_than_the_machine_needs_another_machine() -> None:
    fit = plan(PlannedLoad(rate=1, seconds=1, memory=4 * GB), machine_named("t3.medium"))
    assert (fit.fits, fit.on_credits, fit.count) == (False, False, None)


def test_two_processes_share_a_machine_only_if_both_fit_on_it() -> None:
    load = PlannedLoad(
        rate=1, seconds=1, memory=2 * GB
    )  # with headroom, one process fits on a t3.medium, and three are needed
    assert plan(load, machine_named("t3.medium")).count == 3


def test_rule_of_thumb_says_what_its_workers_would_achieve() -> None:
    steps = rule_of_thumb(PlannedLoad(rate=5, seconds=120), machine_named("t3.medium"))
    assert [step.result for step in steps] == ["5 workers", "0.042 jobs/s at most", "2.5 GB of memory"]


def test_rule_of_thumb_has_no_more_cores_than_the_machine() -> None:
    steps = rule_of_thumb(PlannedLoad(rate=2, seconds=0.6, cpu=0.5), machine_named("c7i.xlarge"))
    assert [step.result for step in steps[1:3]] == ["15 jobs/s at most", "8.0 jobs/s at most"]


def test_burstable_machine_may_use_its_baseline_for_long() -> None:
    assert machine_named("T3.Medium ").usable_cores == pytest.approx(0.4)
    assert machine_named("m7g.medium").usable_cores == pytest.approx(0.75)
    assert Machine(name="box", cores=4, memory=8 * GB).usable_cores == pytest.approx(3)


@pytest.mark.parametrize(
    ("name", "hint"), [("t3.medum", "did you mean `t3.medium`?"), ("zzz", "the families are t3, t4g, m5,")]
)
def test_unknown_machine_is_named_with_what_resembles_it(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="is no machine of the table") as raised:
        machine_named(name)
    assert hint in str(raised.value)


def test_table_has_the_usual_machines() -> None:
    found = MACHINES["t3.large"], MACHINES["t4g.nano"], MACHINES["m6i.2xlarge"], MACHINES["c7g.medium"]
    assert [(each.cores, each.memory // 2**20, each.baseline) for each in found] == [
        (2, 8192, 0.3), (2, 512, 0.05), (8, 32768, 1.0), (1, 2048, 1.0),
    ]  # fmt: skip
