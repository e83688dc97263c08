"""URLs of Redis stores: every form works, and errors name the setting and no secret."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidelane.conformance.stores.actions import event_texts, finish, specs, start, submit, tokens
from sidelane.model.errors import ConfigurationError, StoreMisconfigured, StoreUnavailable
from sidelane.model.outcome import Succeeded
from sidelane.stores.contract import job_topic
from sidelane.stores.factory import open_store, redact_url
from sidelane.stores.redis.url import RedisUrl
from tests.contract.servers import EVERY_KIND, RunningServer, free_port
from tests.stores.short_timeouts import short_timeouts


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(request.param, tmp_path)
    running.start("--unixsocket", str(tmp_path / "redis.sock"))
    yield running
    running.stop()


async def use_store(url: str) -> None:
    """Run a job on a store, with hints."""
    store = await open_store(url)
    try:
        async with store.watch(job_topic("a")) as wakeups:
            claimed = await start(store, *specs("a"))
            assert await wakeups.wait(10)
            assert await finish(store, claimed, Succeeded("1"), *tokens("one"))
            assert await wakeups.wait(10)
        assert await event_texts(store, "a") == ["one", "end"]
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("url", "hosts", "service", "database"),
    [
        ("redis://", ["localhost:6379"], "", 0),
        ("redis://h", ["h:6379"], "", 0),
        ("redis://h:1/2", ["h:1"], "", 2),
        ("redis://h/?db=3", ["h:6379"], "", 3),
        ("redis://[::1]:7/2", ["::1:7"], "", 2),
        ("redis+sentinel://h/shop", ["h:26379"], "shop", 0),
        ("redis+sentinel://h:1,i,[::1]:3/my%20shop/2?name=x", ["h:1", "i:26379", "::1:3"], "my shop", 2),
        ("rediss+cluster://h:1,i", ["h:1", "i:6379"], "", 0),
    ],
)
def test_a_url_is_parsed_into_hosts_service_and_database(
    url: str, hosts: list[str], service: str, database: int
) -> None:
    parsed = RedisUrl.parse(url)
    assert [f"{host['host']}:{host['port']}" for host in parsed.hosts] == hosts
    assert (parsed.service, parsed.options.get("db", 0)) == (service, database)


def test_logins_of_server_and_sentinels_are_separate() -> None:
    parsed = RedisUrl.parse("redis+sentinel://me:p%2Fw@h/shop?sentinel_username=s&sentinel_password=t&wait=2")
    assert (parsed.options["username"], parsed.options["password"]) == ("me", "p/w")
    assert (parsed.sentinel["username"], parsed.sentinel["password"]) == ("s", "t")
    assert parsed.min_replicas == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@h:1,i:2", r"several servers.*redis\+cluster://"),
        ("redis://:secret@h:port/0", "no host and port"),
        ("redis://:secret@h:99999/0", "no host and port"),
        ("redis://:secret@h/first", "no database"),
        ("redis+cluster://:secret@h,i:x", "no host and port"),
        ("redis+sentinel://:secret@h:1,i:2", "no service"),
        ("redis+sentinel://:secret@h:1,i:2/", "no service"),
        ("redis+sentinel://:secret@h/shop/first", "no database"),
        ("unix://:secret@tmp/redis.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("redis://:secret/secret@h", "%2F"),
        ("redis://:sec?ret@h/0", "%2F"),
        ("redis://:secret#@h", "%2F"),
        ("redis://:secret@h/?wait=all", "wait='all'"),
        ("redis://:secret@h/?db=first", "['`]db['`]"),
        ("redis://:secret@h/?what=1", "what"),
        ("redis://:secret@h/?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs"),
        ("rediss://:secret@h/?ssl_ca_certs=/nowhere.pem", "No such file"),
        ("rediss://:secret@h/?ssl_cert_reqs=perhaps", "perhaps"),
        ("redis+sentinels://:secret@h/shop", "names no store"),
    ],
)
async def test_a_malformed_url_is_an_error_that_says_why(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        await open_store(url)
    assert "SIDELANE_STORE" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "sec?ret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://me:secret@h:1,i:2/shop", "redis+sentinel://me:********@h:1,i:2/shop"),
        ("redis+sentinel://h:1,i:2/shop", "redis+sentinel://h:1,i:2/shop"),
        ("redis://:se/cr@et@h", "redis://:********@h"),
        ("redis://:[secret@h", "redis://:********@h"),
        ("redis://h/shop?sentinel_password=secret&name=x", "redis://h/shop?sentinel_password=********&name=x"),
        ("redis://h?password=secret", "redis://h?password=********"),
        ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ("jobs.db", "jobs.db"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert redact_url(url) == shown


async def test_a_unix_socket_works_and_checks_the_password(server: RunningServer, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/redis.sock"
    await use_store(f"{url}?db=1")
    server.tell("CONFIG", "SET", "requirepass", "right")
    for wrong in url, f"unix://:wrong@{tmp_path}/redis.sock":
        with pytest.raises(StoreMisconfigured, match=r"password.*SIDELANE_STORE"):
            await open_store(wrong)
    await use_store(f"unix://:right@{tmp_path}/redis.sock")
    with short_timeouts(), pytest.raises(StoreUnavailable, match=r"No such file.*SIDELANE_STORE"):
        await open_store(f"unix://{tmp_path}/other.sock")


async def test_a_missing_database_is_an_error_that_names_the_setting(server: RunningServer) -> None:
    with pytest.raises(StoreMisconfigured, match=r"no such database.*SIDELANE_STORE"):
        await open_store(f"redis://127.0.0.1:{server.port}/1000")


async def test_the_documented_permissions_suffice_and_fewer_are_refused_at_open(
    server: RunningServer,
) -> None:
    rights = documented_permissions()
    server.tell("ACL", "SETUSER", "shop", "on", ">right", *rights)
    await use_store(f"redis://shop:right@127.0.0.1:{server.port}/0?name=shop")
    for less in ("resetkeys", "resetchannels", "-info"):
        server.tell("ACL", "SETUSER", "less", "reset", "on", ">right", *rights, less)
        with pytest.raises(StoreMisconfigured, match=r"does not allow its user.*SIDELANE_STORE"):
            await open_store(f"redis://less:right@127.0.0.1:{server.port}/0?name=shop")
    server.tell("ACL", "SETUSER", "less", "reset", "on", ">right", *rights, "-mset")
    store = await open_store(f"redis://less:right@127.0.0.1:{server.port}/0?name=shop")
    with pytest.raises(StoreMisconfigured, match=r"does not allow its user.*SIDELANE_STORE"):
        await store.submit(specs("b"))
    await store.close()


def documented_permissions() -> list[str]:
    page = Path(__file__).parents[2] / "docs" / "stores.md"
    (line,) = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER shop on")]
    return line.partition(">secret ")[2].split()


@asynccontextmanager
async def fake_server(answer: bytes) -> AsyncIterator[int]:
    """Run a server that answers every INFO with one text."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            count = data.count(b"\r\nSETINFO\r\n")  # redis-py sends this first; old servers do not know it
            writer.write(b"-ERR unknown subcommand\r\n" * count)
            if b"\r\nINFO\r\n" in data:
                writer.write(b"$%d\r\n%s\r\n" % (len(answer), answer))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.mark.parametrize("version", ["6.2.14", "3.0.7"])
async def test_an_old_server_is_refused_with_its_version(version: str) -> None:
    said = f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\nrole:master\r\n".encode()
    async with fake_server(said) as port:
        with pytest.raises(StoreMisconfigured, match=rf"Redis {version}.*7\.0 or newer.*SIDELANE_STORE"):
            await open_store(f"redis://127.0.0.1:{port}")


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[RunningServer, int]]:
    """A server with a second port for TLS, and a self-signed certificate."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=shop", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    running = RunningServer("redis", tmp_path)  # the valkey package is built without TLS
    port = free_port()
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem")
    running.start("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    yield running, port
    running.stop()


async def test_tls_works_and_verifies_certificates_by_default(
    encrypted: tuple[RunningServer, int], tmp_path: Path
) -> None:
    server, port = encrypted
    url = f"rediss://127.0.0.1:{port}/0"
    await use_store(f"{url}?ssl_ca_certs={tmp_path}/cert.pem")
    await use_store(f"{url}?name=other&ssl_cert_reqs=none")
    with pytest.raises(StoreMisconfigured, match=r"not trusted.*ssl_ca_certs in SIDELANE_STORE"):
        await open_store(url)
    with pytest.raises(StoreMisconfigured, match=r"not trusted.*SIDELANE_STORE"):
        await open_store(f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path}/cert.pem")
    with short_timeouts():
        with pytest.raises(StoreUnavailable, match=r"whether SIDELANE_STORE is right about TLS"):
            await open_store(f"rediss://127.0.0.1:{server.port}?socket_connect_timeout=0.5")
        with pytest.raises(StoreUnavailable, match="SIDELANE_STORE"):
            await open_store(f"redis://127.0.0.1:{port}")


async def test_a_call_that_is_cancelled_stays_cancelled(server: RunningServer) -> None:
    store = await open_store(server.url())

    async def work() -> None:
        while True:
            await store.submit(specs("a"))

    for _ in range(50):
        working = asyncio.create_task(work())
        await asyncio.sleep(0.005)
        working.cancel()
        _, left = await asyncio.wait([working], timeout=2)
        assert not left
    await submit(store, *specs("b"))
    await store.close()
