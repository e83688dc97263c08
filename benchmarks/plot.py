"""The chart of `make bench`: horizontal bars of ours and its peers' figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.workload import Results

OURS, PEERS, INK, FAINT = "#0f766e", "#cbd5e1", "#0f172a", "#64748b"


@dataclass(frozen=True)
class Panel:
    """One panel of the chart: a figure of a workload."""

    workload: str
    figure: str
    title: str
    form: str
    lower_is_better: bool = False
    logarithmic: bool = False


PANELS = (
    Panel("drain", "per_second", "No-op drain, jobs a second", "{:,.0f}"),
    Panel("submit", "callers", "Submits a second, from 100 callers in one process", "{:,.0f}"),
    Panel(
        "start",
        "p50",
        "Submit to start at rest, median ms (less is better; logarithmic)",
        "{:,.1f}",
        lower_is_better=True,
        logarithmic=True,
    ),
    Panel("memory", "bytes", "Redis memory of a queued job, bytes (less is better)", "{:,.0f}", lower_is_better=True),
)


def draw(workloads: dict[str, Results], stores: dict[str, str], footer: str, path: Path) -> None:
    """Draw the panels that have figures. `stores` is the store of each contestant."""
    panels = [panel for panel in PANELS if panel.workload in workloads]
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure, grid = plt.subplots(rows, min(2, len(panels)), figsize=(12, 4.2 * rows), squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw_panel(axes, panel, workloads[panel.workload], stores)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.text(0.012, 0.012, footer, fontsize=8, color=FAINT)
        figure.tight_layout(rect=(0, 0.035, 1, 1), h_pad=2.5, w_pad=3)
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)


def draw_panel(axes: Axes, panel: Panel, results: Results, stores: dict[str, str]) -> None:
    values = {name: value for name, measured in results.items() if (value := measured.median(panel.figure)) is not None}
    names = sorted(values, key=lambda name: values[name], reverse=panel.lower_is_better)
    places = range(len(names))
    colours = [OURS if name.startswith("sidelane") else PEERS for name in names]
    axes.barh(places, [values[name] for name in names], color=colours, height=0.68)
    for place, name in zip(places, names, strict=True):
        of = results[name].of(panel.figure)
        axes.plot([min(of), max(of)], [place, place], color=INK, linewidth=1, alpha=0.55)
        axes.annotate(
            panel.form.format(values[name]), (max(of), place), xytext=(5, 0), textcoords="offset points", va="center",
            color=INK, fontsize=9, fontweight="bold" if name.startswith("sidelane") else "normal",
        )  # fmt: skip
    high = max(max(results[name].of(panel.figure)) for name in names)
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(values.values()) / 2, high * 2.6)
    else:
        axes.set_xlim(0, high * 1.18)
    axes.set_yticks(list(places), labels(names, stores))
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", which="both", length=0, labelbottom=False)  # each bar shows its number
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def labels(names: Sequence[str], stores: dict[str, str]) -> list[str]:
    """Return the names of contestants as readers know them, with the store if it is not Redis."""
    known = {"sidelane": "Sidelane", "sidelane-sqlite": "Sidelane (SQLite)"}
    return [known.get(name, name if stores.get(name) == "redis" else f"{name} (SQLite)") for name in names]
