"""Durability warnings about the place of an SQLite database."""

import os
from collections.abc import Iterable
from pathlib import Path

from sidelane.stores.sqlite.connection import Database

MOUNTS = Path("/proc/self/mounts")
"""File with the mounted file systems, which exists only on Linux."""

REMOTE = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
"""Network file systems, where the locks and shared memory of SQLite do not work between machines."""


def durability_warnings(database: Database) -> list[str]:
    """Return the known reasons why this database could lose jobs."""
    if not database.shared:
        return ["it is in the memory of one process, and is lost with it"]
    kind = file_system(database.path, _mounts())
    if kind in REMOTE:
        return [
            f"its file is on a network file system ({kind}), where the locks of SQLite do not work: use a local disk"
        ]
    return []


def file_system(path: str, mounts: Iterable[str]) -> str:
    """Return the type of the file system of a path from lines as in /proc/mounts, or an empty text if no line matches."""
    found, longest = "", -1
    real = os.path.realpath(path)
    for line in mounts:
        _, at, kind, *_ = line.split(" ")
        folder = at.replace("\\040", " ").rstrip("/")
        if real.startswith(f"{folder}/") and len(folder) >= longest:  # of two at one path, the later hides the other
            found, longest = kind, len(folder)
    return found


def _mounts() -> list[str]:
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
