"""A form with a file of 500 MB sent to an API whose files lie in a folder, and to one whose files lie in S3 (moto_server):
how much memory the API takes for it, over what it has after an upload of 1 MB, and how it answers others meanwhile."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contestants import Arena
from benchmarks.figures import percentile
from benchmarks.measured import Figures
from benchmarks.uploading import uploading
from benchmarks.workload import Bar, Column, Results, Workload
from tests.transports.moto import Moto

MEGABYTES = 500
MOST = 20.0
"""Megabytes by which an API may grow."""


def measure(arena: Arena, quick: bool) -> Figures:
    megabytes = 100 if quick else MEGABYTES
    figures = {f"{name}_folder": value for name, value in one(megabytes, str(arena.folder / "files"), {}).items()}
    with TemporaryDirectory() as folder:
        moto = Moto(Path(folder)).start()
        try:
            moto.bucket("uploads")
            figures |= {f"{name}_s3": value for name, value in one(megabytes, "s3://uploads", moto.environment).items()}
        finally:
            moto.stop()
    return figures | {"megabytes": megabytes}


def one(megabytes: int, files: str, environment: Mapping[str, str]) -> Figures:
    """Upload once, and give the memory that took, the speed, and how others were answered meanwhile."""
    with TemporaryDirectory() as folder, uploading(Path(folder), files, environment) as api:
        grown, seconds, took = api.growth(megabytes)
        return {"grown": grown, "speed": megabytes / seconds, "light": 1000 * percentile(took, 0.99)}


def bars(results: Results) -> list[Bar]:
    held = []
    for name, where in (("grown_folder", "a folder"), ("grown_s3", "S3")):
        grown = results["sidelane-sqlite"].of(name) if "sidelane-sqlite" in results else []
        if grown:
            size = results["sidelane-sqlite"].middle("megabytes") or 0
            what = f"memory of the API for an upload of {size:.0f} MB to {where}, the most"
            held.append(Bar(what, f"{max(grown):.1f} MB", f"<= {MOST:.0f} MB", max(grown) <= MOST))
    return held


WORKLOAD = Workload(
    name="upload",
    title="Memory of an upload",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="grown_folder", heading="MB of memory, folder", form="{:.1f}"),
        Column(figure="grown_s3", heading="S3", form="{:.1f}"),
        Column(figure="speed_folder", heading="MB/s, folder"),
        Column(figure="speed_s3", heading="S3"),
        Column(figure="light_folder", heading="others' p99 ms, folder", form="{:.0f}"),
        Column(figure="light_s3", heading="S3", form="{:.0f}"),
    ],
    bars=bars,
    rounds=3,
    long=600.0,
    least_wins=True,
    takes_part=lambda each: each.name == "sidelane-sqlite",
)
