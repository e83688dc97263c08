"""Checks at open: the server's version and role, the schema of its keys, and settings that could lose data."""

from typing import NamedTuple

from sidelane.model.errors import StoreError, StoreMisconfigured
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.discovery import read_info

MIN_VERSION = (7, 0)
SCHEMA = 9


class ServerInfo(NamedTuple):
    """The server's name and version, and its settings that could lose data."""

    description: str
    durability_warnings: list[str]


async def check_server(server: Server, prefix: str, name: str) -> ServerInfo:
    """Return information about the server. Raises `StoreMisconfigured` if the server or its keys cannot be used."""
    info = read_info(await server.command("INFO"))
    version = info.get("redis_version", "0")
    if tuple(int(number) for number in version.split(".")[:2]) < MIN_VERSION:
        raise StoreMisconfigured(
            f"The store {name} is Redis {version}; Sidelane needs Redis 7.0 or newer, or Valkey: point SIDELANE_STORE to one."
        )
    if info.get("role") == "slave":
        raise StoreMisconfigured(
            f"The store {name} is a read-only replica: point SIDELANE_STORE to the primary server."
        )
    appendfsync = await appendfsync_setting(server)
    await _check_schema(server, f"{prefix}:meta", name)
    # fails here if the user may not publish, not in the middle of a write
    await server.command("SPUBLISH", f"{prefix}:hint:", "")
    return ServerInfo(_description(info, appendfsync), _durability_warnings(info, appendfsync))


async def _check_schema(server: Server, key: str, name: str) -> None:
    schema = await server.command("HGET", key, "schema")
    if schema is None:
        await server.command("HSETNX", key, "schema", SCHEMA)
    elif int(schema) > SCHEMA:
        raise StoreMisconfigured(
            f"The store {name} was written by a newer Sidelane (schema {schema}; this one reads {SCHEMA}): "
            "upgrade this installation."
        )
    elif int(schema) < SCHEMA:
        raise StoreMisconfigured(
            f"The store {name} was written by a Sidelane before the first release (schema {schema}; this one reads {SCHEMA}) "
            "and cannot be upgraded: start a new store with another ?name=."
        )


async def appendfsync_setting(server: Server) -> str:
    """Return the appendfsync setting, or an empty text if the server does not allow CONFIG."""
    try:
        answer = await server.command("CONFIG", "GET", "appendfsync")
    except StoreError:  # hosted servers often forbid it
        return ""
    return str(answer[1]) if answer else ""


def _description(info: dict[str, str], appendfsync: str) -> str:
    name, version = product(info)
    appends = f", appendfsync {appendfsync}" if appendfsync and info.get("aof_enabled") == "1" else ""
    return f"{name} {version}{appends}"


def product(info: dict[str, str]) -> tuple[str, str]:
    """Return the name and the version of the server's software."""
    return ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])


def _durability_warnings(info: dict[str, str], appendfsync: str) -> list[str]:
    found = []
    if info.get("aof_enabled") == "0":
        found.append("its server keeps no append-only file, so a restart loses acknowledged jobs: set appendonly yes")
    elif appendfsync == "no":
        found.append(
            "its server never syncs its file (appendfsync no), so a crash of the machine loses half a minute or more: set it to "
            "always or everysec"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"its server evicts keys when memory is full (maxmemory-policy {policy}): set it to noeviction")
    return found
