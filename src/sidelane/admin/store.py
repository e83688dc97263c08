"""Store as operators see it: its size, durability and jobs, and the file of a backup."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidelane.model.durations import DAY
from sidelane.model.store_info import StoreInfo
from sidelane.stores.contract import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """A store's information, and its unfinished jobs."""

    info: StoreInfo
    description: str
    durability_warnings: tuple[str, ...]
    queued: int
    running: int
    rate: float  # job starts per second in about the last minute

    @property
    def daily_growth(self) -> int | None:
        """Bytes that the jobs of a day take at the present rate, or None without a job. They are freed after their retention."""
        per_job = self.info.bytes_per_job
        return None if per_job is None else round(per_job * self.rate * DAY)

    @property
    def finished(self) -> int:
        """Jobs that have ended and are kept."""
        return max(0, self.info.jobs - self.queued - self.running)

    def document(self, url: str) -> dict[str, Any]:
        """Return a JSON document. Sizes are bytes. `url` must be redacted."""
        info = self.info
        return {
            "url": url,
            "kind": info.kind,
            "version": info.version,
            "durability_warnings": list(self.durability_warnings),
            "size": info.size,
            "free": info.free,
            "max_size": info.max_size,
            "jobs": {
                "queued": self.queued,
                "running": self.running,
                "finished": self.finished,
                "failed": info.failed,
            },
            "bytes_per_job": info.bytes_per_job,
            "daily_growth": self.daily_growth,
            "files": list(info.files),
            "details": dict(info.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was made. `jobs` is the number of jobs just before it began."""

    file: str
    size: int
    jobs: int
    seconds: float


async def store_state(store: Store) -> StoreState:
    """Return what an operator wants to know about a store."""
    queues = await store.stats()
    return StoreState(
        info=await store.info(),
        description=store.description,
        durability_warnings=tuple(store.durability_warnings),
        queued=sum(queue.queued for queue in queues),
        running=sum(queue.running for queue in queues),
        rate=sum(queue.rate for queue in queues),
    )


async def make_backup(store: Store, file: str, *, overwrite: bool) -> Backup:
    """Copy the store to a file. Raises the errors of `Store.backup`."""
    began = time.monotonic()
    jobs = (await store.info()).jobs
    await store.backup(file, overwrite=overwrite)
    size = Path(file).stat().st_size  # noqa: ASYNC240 - the file has just been written
    return Backup(file=file, size=size, jobs=jobs, seconds=time.monotonic() - began)
