"""What is checked when a store is opened: that this server and these keys will do, and what could lose data."""

from typing import NamedTuple

from sidelane.model.errors import StoreError, StoreMisconfigured
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.discovery import read_info

OLDEST = (7, 0)
SCHEMA = 4


class ServerInfo(NamedTuple):
    """What a check has found: which server it is, and what could lose data."""

    description: str
    dangers: list[str]


async def check_server(server: Server, prefix: str, name: str) -> ServerInfo:
    """Refuse a server or keys that cannot be used, and say what it is and what may lose data."""
    info = read_info(await server.command("INFO"))
    version = info.get("redis_version", "0")
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        raise StoreMisconfigured(
            f"The store {name} is Redis {version}; Sidelane needs Redis 7.0 or newer, or Valkey: let SIDELANE_STORE name such."
        )
    if info.get("role") == "slave":
        raise StoreMisconfigured(
            f"The store {name} is a read-only replica: let SIDELANE_STORE name the primary server."
        )
    syncs = await _syncs(server)
    await _check_schema(server, f"{prefix}:meta", name)
    # a user of few rights is refused here, not in the middle of a write
    await server.command("SPUBLISH", f"{prefix}:hint:", "")
    return ServerInfo(_description(info, syncs), _durability_warnings(info, syncs))


async def _check_schema(server: Server, key: str, name: str) -> None:
    schema = await server.command("HGET", key, "schema")
    if schema is None:
        await server.command("HSETNX", key, "schema", SCHEMA)
    elif int(schema) > SCHEMA:
        raise StoreMisconfigured(
            f"The store {name} was written by a newer Sidelane (schema {schema}; this one knows {SCHEMA}): "
            "upgrade this installation."
        )
    elif int(schema) < SCHEMA:
        raise StoreMisconfigured(
            f"The store {name} was written by a Sidelane before the first release (schema {schema}; this one knows {SCHEMA}), "
            "which nothing upgrades: give the new one a ?name= of its own."
        )


async def _syncs(server: Server) -> str:
    """Ask when the append-only file is synced; empty where the server does not tell."""
    try:
        answer = await server.command("CONFIG", "GET", "appendfsync")
    except StoreError:  # hosted servers often forbid it
        return ""
    return str(answer[1]) if answer else ""


def _description(info: dict[str, str], syncs: str) -> str:
    name, version = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
    appends = f", appendfsync {syncs}" if syncs and info.get("aof_enabled") == "1" else ""
    return f"{name} {info[version]}{appends}"


def _durability_warnings(info: dict[str, str], syncs: str) -> list[str]:
    found = []
    if info.get("aof_enabled") == "0":
        found.append(
            "its server keeps no append-only file, so a restart forgets what it acknowledged: set appendonly yes"
        )
    elif syncs == "no":
        found.append(
            "its server never asks for what it writes to be on the disk (appendfsync no), so a crash of the machine forgets half a "
            "minute or more: set it to always or everysec"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"its server removes keys when memory is short (maxmemory-policy {policy}): set it to noeviction")
    return found
