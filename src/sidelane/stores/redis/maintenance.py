"""info, and why a server needs neither our vacuum nor our backup."""

from collections.abc import Sequence

from sidelane.model.errors import NotSupported, StoreError
from sidelane.model.store_info import StoreInfo
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.discovery import read_info as parse_info
from sidelane.stores.redis.preflight import appendfsync_setting, product

SCANNED = 500
"""Keys of the server that one look at its contents reads at about."""

MEASURED = 100
"""Keys whose memory is measured, if the server has other keys too."""


async def read_info(server: Server, prefix: str) -> StoreInfo:
    """Return the memory of the store's keys and how many jobs they hold. The memory is estimated from a sample of the keys."""
    info = parse_info(await server.command("INFO"))
    kind, version = product(info)
    data = int(info.get("used_memory_dataset", 0)) or None
    share = await _share(server, prefix)
    fsync = await appendfsync_setting(server)
    appends = info.get("aof_enabled") == "1"
    details: dict[str, str | int] = {
        "memory of the server": int(info.get("used_memory", 0)),
        "append-only file": f"on{f', appendfsync {fsync}' if fsync else ''}" if appends else "off",
        "snapshots": "on" if await _takes_snapshots(server) else "off",
        "when memory is full": info.get("maxmemory_policy", ""),
    }
    if appends:
        details["size of the append-only file"] = int(info.get("aof_current_size", 0))
    return StoreInfo(
        kind=kind,
        version=version,
        size=None if data is None or share is None else round(data * share),
        max_size=int(info.get("maxmemory", 0)) or None,
        jobs=int(await server.command("ZCARD", f"{prefix}:all")),
        failed=int(await server.command("ZCARD", f"{prefix}:failed")),
        server=info.get("run_id", ""),
        details={name: value for name, value in details.items() if value != ""},
    )


def no_vacuum() -> NotSupported:
    """Return the answer to a vacuum."""
    return NotSupported(
        "The server frees the memory of removed jobs itself, so no vacuum is needed. It also rewrites its append-only file, "
        "or does so now by `redis-cli BGREWRITEAOF`."
    )


def no_backup() -> NotSupported:
    """Return the answer to a backup."""
    return NotSupported(
        "The backup of a server is a copy of its own files, on its own machine. Run `redis-cli BGSAVE`, wait until the answer of "
        "LASTSAVE changes, and copy the RDB file in the folder that `CONFIG GET dir` names. To copy the append-only file instead, "
        "run `CONFIG SET auto-aof-rewrite-percentage 0`, copy the folder `appendonlydir`, and set the value back. Restore the "
        "files while the server is stopped."
    )


async def _share(server: Server, prefix: str) -> float | None:
    """Return the estimated share of the store's keys in the server's memory, or None if it cannot be known."""
    _, keys = await server.command("SCAN", "0", "COUNT", SCANNED)
    own = [key for key in keys if key.startswith(f"{prefix}:")]
    if len(own) == len(keys):
        return 1.0
    sample = keys[:MEASURED]
    try:
        sizes = [int(await server.command("MEMORY", "USAGE", key) or 0) for key in sample]
    except StoreError:  # hosted servers often forbid it, and a user of the store alone may not read other keys
        return None
    return _part(sample, sizes, f"{prefix}:")


def _part(keys: Sequence[str], sizes: Sequence[int], start: str) -> float | None:
    """Return the part of the sizes that belongs to keys with a prefix, or None if the sample has none of them."""
    own = sum(size for key, size in zip(keys, sizes, strict=True) if key.startswith(start))
    return own / sum(sizes) if own else None


async def _takes_snapshots(server: Server) -> bool:
    try:
        answer = await server.command("CONFIG", "GET", "save")
    except StoreError:
        return False
    return bool(answer and answer[1])
