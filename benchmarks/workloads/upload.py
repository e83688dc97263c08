"""A form with a file of 500 MB, uploaded to an API that stores files in a folder, and to one that stores them in S3 (moto_server):
the memory that the API needs beyond that of an upload of 1 MB, and its latency for other requests meanwhile."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contestants import Trial
from benchmarks.figures import percentile
from benchmarks.measured import Figures
from benchmarks.uploading import uploading
from benchmarks.workload import Bar, Column, Results, Workload
from tests.transports.moto import Moto

MEGABYTES = 500
MAX_GROWTH = 20.0
"""How much an API's memory may grow, in megabytes."""


def measure(trial: Trial, quick: bool) -> Figures:
    megabytes = 100 if quick else MEGABYTES
    figures = {f"{name}_folder": value for name, value in one(megabytes, str(trial.folder / "files"), {}).items()}
    with TemporaryDirectory() as folder:
        moto = Moto(Path(folder)).start()
        try:
            moto.bucket("uploads")
            figures |= {f"{name}_s3": value for name, value in one(megabytes, "s3://uploads", moto.environment).items()}
        finally:
            moto.stop()
    return figures | {"megabytes": megabytes}


def one(megabytes: int, files: str, environment: Mapping[str, str]) -> Figures:
    """Upload once; return the growth of memory, the speed, and the latency of other requests."""
    with TemporaryDirectory() as folder, uploading(Path(folder), files, environment) as api:
        grown, seconds, took = api.growth(megabytes)
        return {"grown": grown, "speed": megabytes / seconds, "light": 1000 * percentile(took, 0.99)}


def bars(results: Results) -> list[Bar]:
    held = []
    for name, where in (("grown_folder", "a folder"), ("grown_s3", "S3")):
        grown = results["sidelane-sqlite"].of(name) if "sidelane-sqlite" in results else []
        if grown:
            size = results["sidelane-sqlite"].median("megabytes") or 0
            what = f"memory of the API for an upload of {size:.0f} MB to {where}, the most"
            held.append(Bar(what, f"{max(grown):.1f} MB", f"<= {MAX_GROWTH:.0f} MB", max(grown) <= MAX_GROWTH))
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
    lower_is_better=True,
    takes_part=lambda each: each.name == "sidelane-sqlite",
)
