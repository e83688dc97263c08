"""Writes docs/performance.md from the results of `make bench`: tables, reference figures, and the chart.

python -m benchmarks.page            from benchmarks/results/latest.json
python -m benchmarks.page --check    check that the page matches its figures
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured
from benchmarks.report import ranked
from benchmarks.workload import Results, Workload
from benchmarks.workloads.all import WORKLOADS

DOCS = Path(__file__).parents[1] / "docs"
LATEST = Path(__file__).parent / "results" / "latest.json"
BEGIN, END = "<!-- figures: made by `python -m benchmarks.page` -->", "<!-- end of figures -->"


def tables(kept: dict[str, Any]) -> str:
    """Return all results as Markdown."""
    parts = [head(kept), bars(kept)]
    parts += [table(WORKLOADS[name], entry) for name, entry in kept["workloads"].items()]
    return "\n\n".join([*parts, contestants(kept)])


def head(kept: dict[str, Any]) -> str:
    here = kept["machine"]
    return (
        f"Machine: {here['processor']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}, "
        f"Python {here['python']}. Redis: {kept['redis']}. "
        "Each cell is the median of the rounds, with the lowest and the highest."
    )


def bars(kept: dict[str, Any]) -> str:
    """Return a table of all targets and their figures."""
    rows = ["| Ours | Measured | Target | |", "|---|---|---|---|"]
    for entry in kept["workloads"].values():
        rows += [
            f"| {bar['what']} | {bar['figure']} | {bar['bar']} | {'met' if bar['met'] else '**missed**'} |"
            for bar in entry["bars"]
        ]
    return "\n".join(["## Our own targets", "", *rows])


def table(workload: Workload, entry: dict[str, Any]) -> str:
    results = results_of(entry)
    lines = [
        f"## {workload.title}", "", workload.about.strip(), "",
        "| | " + " | ".join(column.heading for column in workload.columns) + " |",
        "|---|" + "--:|" * len(workload.columns),
    ]  # fmt: skip
    for name, measured in ranked(workload, results):
        cells = [column.of(measured) for column in workload.columns]
        if not measured.rounds:
            cells = ["failed", *("" for _ in cells[1:])]
        shown = f"**{name}**" if name.startswith("sidelane") else name
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    lines += ["", f"{entry['rounds']} {'round' if entry['rounds'] == 1 else 'rounds'}, {entry['measured'][:10]}."]
    return "\n".join(lines)


def contestants(kept: dict[str, Any]) -> str:
    """Return a table of the configuration of each contestant, with its source."""
    rows = [
        "| | Versions | Concurrency (drain) | Configuration | Source | Recovery after the loss of a worker |",
        "|---|---|--:|---|---|---|",
    ]
    for name, about in kept["contestants"].items():
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        durable = f". {about['durability']}" if about["durability"] and about["store"] == "sqlite" else ""
        slots = f"{about['slots']} ({about['drain_slots'] or about['slots']})"
        how = f"{about['configuration']}{durable} | {about['source']} | {about['recovery']}"
        rows.append(f"| {name} | {versions} | {slots} | {how} |")
    return "\n".join(["## Contestants", "", *rows])


def results_of(entry: dict[str, Any]) -> dict[str, Measured]:
    """Return the results of one stored workload."""
    found = {}
    for name, kept in entry["contestants"].items():
        figures = kept["figures"]
        rounds = max((len(each["rounds"]) for each in figures.values()), default=0)
        found[name] = Measured(
            rounds=[
                {figure: each["rounds"][number] for figure, each in figures.items() if number < len(each["rounds"])}
                for number in range(rounds)
            ],
            failed=kept.get("failed", ""),
        )
    return found


def with_tables(page: str, kept: dict[str, Any]) -> str:
    """Return the page with its tables replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(kept)}\n\n{END}{rest.partition(END)[2]}"


def main(check: bool) -> int:
    page, figures = DOCS / "performance.md", DOCS / "performance.json"
    if check:
        same = with_tables(page.read_text("utf-8"), json.loads(figures.read_text("utf-8"))) == page.read_text("utf-8")
        print(
            "docs/performance.md matches its figures"
            if same
            else "docs/performance.md is stale: python -m benchmarks.page"
        )
        return not same
    from benchmarks.plot import draw

    kept = json.loads(LATEST.read_text("utf-8"))
    figures.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    page.write_text(with_tables(page.read_text("utf-8"), kept), "utf-8")
    here = kept["machine"]
    footer = (
        f"{here['processor']}, {here['cores']} cores. Redis: {kept['redis']}. One worker process each. "
        "Thin line: from the lowest to the highest round."
    )
    workloads: dict[str, Results] = {name: results_of(entry) for name, entry in kept["workloads"].items()}
    stores = {name: about["store"] for name, about in kept["contestants"].items()}
    draw(workloads, stores, footer, DOCS / "performance.png")
    print(f"written: {page}, {figures.name}, performance.png")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
