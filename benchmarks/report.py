"""Printed report: the machine, the contestants with their configuration, and a table per workload."""

from collections.abc import Sequence

from benchmarks.contestants import Contestant
from benchmarks.measured import Measured, machine
from benchmarks.server import DURABILITY
from benchmarks.workload import Bar, Results, Workload


def print_machine() -> None:
    """Print the machine, and the settings of Redis for all contestants."""
    here = machine()
    print(
        f"{here['processor']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}, Python {here['python']}"
    )
    print(f"Redis: {DURABILITY}; a fresh server for every measurement", flush=True)


def print_contestants(contestants: Sequence[Contestant]) -> None:
    """Print the contestants and their configuration."""
    print()
    for each in contestants:
        about = each.about
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        print(f"  {each.name:<16} {versions}\n{'':<19}{about['configuration']} [{about['source']}]")
        if each.store == "sqlite":
            print(f"{'':<19}{about['durability']}")


def print_table(workload: Workload, results: Results) -> None:
    """Print one workload's figures: the median (lowest to highest) of the rounds."""
    took = sum(measured.seconds for measured in results.values())
    print(f"\n{workload.about.strip()} [a round: {took:.0f} s]")
    rows = [["", *(column.heading for column in workload.columns)]]
    for name, measured in ranked(workload, results):
        cells = [column.of(measured) for column in workload.columns]
        rows.append(
            [name, *([f"failed: {measured.failed[:60]}"] if measured.failed and not measured.rounds else cells)]
        )
    widths = [max(len(row[place]) for row in rows if place < len(row)) for place in range(len(rows[0]))]
    for row in rows:
        print(
            "  "
            + "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=False))
            )
        )


def print_bars(bars: Sequence[Bar]) -> int:
    """Print each target with its figure, and return how many were missed."""
    for bar in bars:
        print(f"  {'met   ' if bar.met else 'MISSED'} {bar.what}: {bar.figure}; target {bar.bar}")
    return sum(not bar.met for bar in bars)


def ranked(workload: Workload, results: Results) -> list[tuple[str, Measured]]:
    """Return the contestants by the first column, the best first."""
    figure = workload.columns[0].figure
    worst = float("inf") if workload.lower_is_better else float("-inf")

    def place(name: str) -> float:
        value = results[name].median(figure)
        value = worst if value is None else value
        return value if workload.lower_is_better else -value

    return [(name, results[name]) for name in sorted(results, key=place)]
