"""Size and contents of a store, for operators."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """The database, its size in bytes and how many jobs it has.

    `server` identifies the server and its run, so it changes if the server restarts or another takes over. `disk_free` are the free
    bytes of the disk that it writes to, if this machine can see it. `free` are bytes of `size` that hold nothing. `max_size` is the
    size that the database may not exceed. `files` are its files on this machine. `details` are further facts by name, which depend
    on the kind of database; numbers are bytes.
    """

    kind: str  # e.g. "SQLite"
    version: str
    size: int | None  # None: unknown
    free: int = 0
    max_size: int | None = None
    jobs: int  # in every state
    failed: int
    files: tuple[str, ...] = ()
    server: str = ""
    disk_free: int | None = None
    details: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def used(self) -> int | None:
        """Bytes that hold something."""
        return None if self.size is None else self.size - self.free

    @property
    def bytes_per_job(self) -> int | None:
        """Average bytes of a job with its arguments, result and events, or None without a job."""
        return None if self.used is None or not self.jobs else self.used // self.jobs
