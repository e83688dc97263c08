"""What is checked when a store is opened: that this server and these keys will do, and what could lose data."""

import logging

from sidelane.model.errors import StoreUnusable
from sidelane.stores.redis.locating import read_info
from sidelane.stores.redis.server import Server

logger = logging.getLogger(__name__)

OLDEST = (7, 0)
SCHEMA = 1


async def check(server: Server, prefix: str, name: str) -> None:
    """Refuse a server or keys that cannot be used, and say plainly what may lose data."""
    info = read_info(await server.command("INFO"))
    version = info.get("redis_version", "0")
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        raise StoreUnusable(
            f"The store {name} is Redis {version}; Sidelane needs Redis 7.0 or newer, or Valkey: let SIDELANE_STORE name such."
        )
    if info.get("role") == "slave":
        raise StoreUnusable(f"The store {name} is a read-only replica: let SIDELANE_STORE name the primary server.")
    await _check_schema(server, f"{prefix}:meta", name)
    await server.command(
        "SPUBLISH", f"{prefix}:hint:", ""
    )  # a user of few rights is refused here, not in the middle of a write
    for warning in _dangers(info):
        logger.warning("The store %s may lose jobs: %s", name, warning)


async def _check_schema(server: Server, key: str, name: str) -> None:
    schema = await server.command("HGET", key, "schema")
    if schema is None:
        await server.command("HSETNX", key, "schema", SCHEMA)
    elif int(schema) > SCHEMA:
        raise StoreUnusable(
            f"The store {name} was written by a newer Sidelane (schema {schema}; this one knows {SCHEMA}): "
            "upgrade this installation."
        )


def _dangers(info: dict[str, str]) -> list[str]:
    found = []
    if info.get("aof_enabled") == "0":
        found.append(
            "its server keeps no append-only file (set appendonly yes), so a restart may forget what it acknowledged."
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"its server removes keys when memory is short (maxmemory-policy {policy}); set it to noeviction.")
    return found
