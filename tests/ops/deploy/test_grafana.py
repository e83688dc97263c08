"""The dashboard and the alert rules: every expression is PromQL, and every metric and label in it exists."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from sidelane.exporters.exposition import Kind, Metric
from sidelane.exporters.process_metrics import METRICS as PROCESS_METRICS
from sidelane.exporters.store_metrics import METRICS as STORE_METRICS
from sidelane.ops.deploy.alert_rules import RULES
from sidelane.ops.deploy.grafana import ROWS, grafana_files
from tests.cli.command import run

ROOT = Path(__file__).parents[3]

METRICS = {metric.name: metric for metric in (*STORE_METRICS, *PROCESS_METRICS)}

OF_THE_SCRAPE = {"job", "instance", "pod"}
"""Labels that Prometheus adds."""

EXPRESSIONS = [
    *(expression for panels in ROWS.values() for panel in panels for expression, _ in panel.queries),
    *(rule.expression for rule in RULES),
]


OF_THE_PAGE = re.findall(r"(?m)^\| [a-z].* \| `(.*)` \|$", (ROOT / "docs" / "metrics.md").read_text("utf-8"))
"""The expressions of the documentation."""


def parsed(expression: str) -> Any:
    return promql_parser.parse(expression.replace("$__rate_interval", "5m").replace("$job", ".*"))


def nodes(tree: Any, kind: type) -> list[Any]:
    """Return the parts of an expression that are of a kind."""
    found: list[Any] = []
    promql_parser.walk(tree, lambda node: found.append(node) if isinstance(node, kind) else None)
    return found


def metric_of(name: str) -> Metric:
    """Return the metric of a series: that of a histogram has a suffix."""
    for suffix in ("_bucket", "_sum", "_count"):
        found = METRICS.get(name.removesuffix(suffix))
        if name.endswith(suffix) and found is not None and found.kind is Kind.HISTOGRAM:
            return found
    assert name in METRICS, f"there is no metric {name}"
    assert METRICS[name].kind is not Kind.HISTOGRAM, f"{name} is a histogram"
    return METRICS[name]


def labels_of(name: str) -> set[str]:
    return {*metric_of(name).labels, *OF_THE_SCRAPE, *(["le"] if name.endswith("_bucket") else [])}


@pytest.mark.parametrize("expression", [*EXPRESSIONS, *OF_THE_PAGE])
def test_every_metric_and_label_of_an_expression_exists(expression: str) -> None:
    tree = parsed(expression)
    selectors = nodes(tree, promql_parser.VectorSelector)
    assert selectors
    for selector in selectors:
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= labels_of(selector.name), selector.name
    for aggregate in nodes(tree, promql_parser.AggregateExpr):
        grouped = set(aggregate.modifier.labels) if aggregate.modifier else set()
        for selector in nodes(aggregate, promql_parser.VectorSelector):
            assert grouped <= labels_of(selector.name), selector.name


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_shown_as_rates_and_gauges_are_not(expression: str) -> None:
    tree = parsed(expression)
    rated = {
        selector.name
        for call in nodes(tree, promql_parser.Call)
        if call.func.name in {"rate", "increase"}
        for selector in nodes(call, promql_parser.VectorSelector)
    }
    for selector in nodes(tree, promql_parser.VectorSelector):
        assert (metric_of(selector.name).kind is not Kind.GAUGE) == (selector.name in rated), selector.name


def test_the_page_has_expressions() -> None:
    assert len(OF_THE_PAGE) == 6


def test_store_metrics_are_not_added_up_over_processes_that_expose_the_same() -> None:
    of_store = {metric.name for metric in STORE_METRICS}
    for expression in EXPRESSIONS:
        for name in re.findall(r"sidelane_\w+", expression):
            if metric_of(name).name in of_store:
                assert re.search(r"max (by|without) \(|max\(|min\(|absent\(", expression), expression


@pytest.mark.parametrize("row", ROWS)
def test_legends_name_labels_of_their_expression(row: str) -> None:
    for panel in ROWS[row]:
        for expression, legend in panel.queries:
            grouped = set(
                chain(*(each.modifier.labels for each in nodes(parsed(expression), promql_parser.AggregateExpr)))
            )
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) == grouped - {"instance", "pod", "le"}, expression


def test_the_dashboard_has_panels_that_do_not_overlap() -> None:
    dashboard = json.loads(grafana_files("shop")[0].text)
    assert dashboard["title"] == "Sidelane: shop"
    cells = Counter(cell for panel in dashboard["panels"] for cell in _cells(panel["gridPos"]))
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job"]


def _cells(position: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(position["x"], position["x"] + position["w"]):
        for y in range(position["y"], position["y"] + position["h"]):
            yield x, y


def test_the_rules_are_yaml_with_a_sentence_and_an_action_each() -> None:
    document = yaml.safe_load(grafana_files("shop")[1].text)
    (group,) = document["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(RULES)
    for rule, declared in zip(group["rules"], RULES, strict=True):
        assert rule["expr"] == declared.expression
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["description"].endswith(".")
        assert re.fullmatch(r"\d+m", rule["for"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_sentence_of_an_alert_uses_only_labels_that_its_result_has(rule: Any) -> None:
    used = set(re.findall(r"\$labels\.(\w+)", rule.summary))
    outermost = nodes(parsed(rule.expression), promql_parser.AggregateExpr)
    assert used <= set(chain(*(each.modifier.labels for each in outermost if each.modifier)))


def test_the_files_are_written_without_a_description_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("deploy", "grafana", "--name", "shop", "--output", "monitoring")
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "monitoring").iterdir()} == {
        "grafana-dashboard.json", "prometheus-alerts.yaml",
    }  # fmt: skip
