"""Plan of a load, its distributions, and its scripts for other tools."""

import ast
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelane.ops.load.document import ab_command
from sidelane.ops.load.figures import Distribution
from sidelane.ops.load.plan import HeavyRoute, LoadPlan, arrivals
from sidelane.ops.load.scripts import k6_script, locust_script

URL = "http://127.0.0.1:8000"
CHAT = HeavyRoute(path="/chat/{user}", body='{"question":"No. {n}: \\"why\\"?\\n"}')

PLANS = {
    "rate and light route": {"heavy": [CHAT], "rate": 2.5, "light": "/health", "ramp": 5.0},
    "users that stream": {"heavy": [CHAT, HeavyRoute(path="/x")], "users": 20, "think": 3.0, "stream": True},
    "wait": {"heavy": [CHAT], "users": 2, "wait": 30.0, "headers": {"X-User": "load-{user}", "A": "'\"\\ é"}},
    "light route alone": {"light": "/health"},
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"light": "/health", "url": "localhost:8000"}, "not the address of a service"),
        ({"light": "/health", "url": "ftp://localhost"}, "not the address of a service"),
        ({"light": "/health", "url": "http://ann:secret@localhost"}, "no user, query or fragment"),
        ({}, "Name a route"),
        ({"light": "health"}, "not a path"),
        ({"heavy": [HeavyRoute(path="chat")], "rate": 1.0}, "not a path"),
        ({"heavy": [CHAT]}, "either --rate"),
        ({"heavy": [CHAT], "rate": 1.0, "users": 1}, "either --rate"),
        ({"light": "/health", "users": 5}, "about a heavy route"),
        ({"light": "/health", "stream": True}, "about a heavy route"),
        ({"heavy": [CHAT], "rate": 1.0, "think": 2.0}, "--think is the pause of --users"),
        ({"heavy": [CHAT], "rate": 1.0, "stream": True, "wait": 5.0}, "either --stream or --wait"),
        ({"heavy": [CHAT], "rate": -1.0}, "--rate: -1"),
        ({"heavy": [CHAT], "rate": 0.0}, "--rate: 0"),
        ({"heavy": [CHAT], "rate": float("nan")}, "--rate: nan"),
        ({"heavy": [CHAT], "users": 0}, "--users: 0"),
        ({"heavy": [CHAT], "users": 1_000_000}, "--users: at most 100,000"),
        ({"heavy": [CHAT], "rate": 1e9}, "--rate: at most 100,000"),
        ({"light": "/health", "light_rate": float("inf")}, "--light-rate: inf"),
        ({"light": "/health", "duration": 0.0}, "--duration: 0"),
        ({"light": "/health", "timeout": -5.0}, "--timeout: -5"),
        ({"heavy": [CHAT], "rate": 1.0, "ramp": 40.0}, "--ramp: 40 s is longer"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoadPlan(**{"url": URL, **options})


def test_arrivals_are_evenly_spaced() -> None:
    assert [*arrivals(4, 1.0)] == [0, 0.25, 0.5, 0.75]
    assert [*arrivals(0.5, 5.0)] == [0, 2, 4]


def test_arrivals_get_faster_during_the_ramp() -> None:
    due = [*arrivals(10, 20.0, ramp=10.0)]
    assert len(due) == 150  # half as many in the ten seconds of the ramp, then ten a second
    gaps = [after - before for before, after in pairwise(due)]
    assert gaps[0] > gaps[10] > gaps[40] > 0.1
    assert gaps[-1] == pytest.approx(0.1)


@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=300), st.floats(0.01, 1))
def test_quantiles_are_right_within_one_percent(values: list[float], q: float) -> None:
    times = Distribution()
    for value in values:
        times.observe(value)
    exact = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    assert times.quantile(q) == pytest.approx(exact, rel=0.011)
    assert times.max == max(values)


def test_a_distribution_stays_small() -> None:
    times = Distribution()
    assert times.quantile(0.5) is None
    for number in range(200_000):
        times.observe(number / 10)
    assert times.count == 200_000
    assert len(times._buckets) < 900


@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS)
def test_the_locustfile_is_python_with_the_plan_in_it(options: dict[str, Any]) -> None:
    text = locust_script(LoadPlan(url=f"{URL}/", **options))
    tree = ast.parse(text)
    (assigned,) = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PLAN"
    ]
    plan = ast.literal_eval(assigned)
    assert plan["url"] == URL
    assert plan["heavy"] == [{"path": each.path, "body": each.body} for each in options.get("heavy", [])]
    assert plan["headers"] == options.get("headers", {})


@pytest.mark.parametrize("options", PLANS.values(), ids=PLANS)
def test_the_script_for_k6_is_javascript(options: dict[str, Any], tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    script = tmp_path / "load.mjs"
    script.write_text(k6_script(LoadPlan(url=URL, **options)), "utf-8")
    checked = subprocess.run([node, "--check", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_command_of_apache_bench_sends_as_many_light_requests() -> None:
    assert ab_command(LoadPlan(url=f"{URL}/", light="/health", light_rate=50)) == f"ab -n 1500 -c 10 {URL}/health"
