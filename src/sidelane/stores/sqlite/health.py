"""What could lose jobs in an SQLite database, by where it is kept."""

import os
from collections.abc import Iterable
from pathlib import Path

from sidelane.stores.sqlite.connection import Database

MOUNTS = Path("/proc/self/mounts")
"""Which file system is mounted where, on Linux; elsewhere nothing is known."""

REMOTE = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
"""File systems whose other side is a machine of its own, to which the locks and shared memory of SQLite do not reach."""


def durability_warnings(database: Database) -> list[str]:
    """Say what could lose jobs in this database; empty where nothing is known to."""
    if not database.shared:
        return ["it is in the memory of one process, and ends with it"]
    kind = file_system(database.path, _mounts())
    if kind in REMOTE:
        return [
            f"its file is on a network file system ({kind}), where SQLite cannot keep processes apart: use a local disk"
        ]
    return []


def file_system(path: str, mounts: Iterable[str]) -> str:
    """Find the type of the file system that a path is on, from lines as in /proc/mounts; empty where none fits."""
    found, longest = "", -1
    real = os.path.realpath(path)
    for line in mounts:
        _, at, kind, *_ = line.split(" ")
        folder = at.replace("\\040", " ").rstrip("/")
        if real.startswith(f"{folder}/") and len(folder) >= longest:  # of two at one place, the later hides the other
            found, longest = kind, len(folder)
    return found


def _mounts() -> list[str]:
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
