"""Posting to receivers that fail, stall, redirect and drip, and to addresses that may not be reached."""

import asyncio
import ipaddress
import random
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sidelane.callbacks import connecting, resolving
from sidelane.callbacks.addresses import AddressRefused, Reach
from sidelane.callbacks.poster import NotDelivered, Poster, ReceiverGone, seconds_of
from sidelane.callbacks.resolving import Resolve, Resolver
from tests.callbacks.receiving import Receiver, cut, dripping, pouring, receiving, stalled, status

MakePoster = Callable[..., Poster]


@pytest.fixture
async def make_poster() -> AsyncIterator[MakePoster]:
    async with AsyncExitStack() as stack:

        def make(
            *, private: bool = True, hosts: str = "", resolve: Resolve | None = None, timeout: float = 30.0
        ) -> Poster:
            reach = Reach(private=private, hosts=frozenset(hosts.split()))
            poster = Poster(reach, resolve=resolve, timeout=timeout)
            stack.push_async_callback(poster.close)
            return poster

        yield make


def names(**hosts: list[str]) -> Resolve:
    """Resolve these names, each to the next of its answers a time; the last one stays."""

    async def resolve(host: str, port: int) -> list[str]:
        answers = hosts[host.partition(".")[0]]
        return [answers.pop(0) if len(answers) > 1 else answers[0]]

    return resolve


async def test_a_post_arrives_with_its_headers_and_the_name_of_the_host(
    receiver: Receiver, make_poster: MakePoster
) -> None:
    poster = make_poster(resolve=names(api=["127.0.0.1"]))
    answer = await poster.deliver(f"http://api.example:{receiver.port}/a/b?c=d", "ü".encode(), {"X-One": "1"})
    assert (answer.status, answer.text) == (200, "ok")
    (got,) = receiver.received
    assert (got.method, got.path, got.body) == ("POST", "/a/b?c=d", "ü")
    assert (got.headers["host"], got.headers["x-one"]) == (f"api.example:{receiver.port}", "1")


async def test_a_poster_that_was_closed_opens_again(receiver: Receiver, make_poster: MakePoster) -> None:
    poster = make_poster()
    await poster.deliver(receiver.url, b"1", {})
    await poster.close()
    await poster.deliver(receiver.url, b"2", {})
    assert [got.body for got in receiver.received] == ["1", "2"]


async def test_one_connection_serves_one_post_after_the_other(receiver: Receiver, make_poster: MakePoster) -> None:
    poster = make_poster()
    for _ in range(3):
        await poster.deliver(receiver.url, b"", {})
    assert (len(receiver.received), receiver.connections) == (3, 1)


def test_a_host_that_was_being_looked_up_when_its_loop_ended_is_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver, looking, look_up = Resolver(), threading.Event(), resolving._look_up

    def slow(host: str, port: int) -> list[str]:
        looking.wait(10)
        return look_up(host, port)

    async def in_vain() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolver("localhost", 80), 0.1)
        resolver.close()

    monkeypatch.setattr(resolving, "_look_up", slow)
    asyncio.run(in_vain())
    looking.set()
    assert "127.0.0.1" in asyncio.run(resolver("localhost", 80))
    resolver.close()


async def test_connections_that_are_forgotten_take_none_from_others(
    make_poster: MakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "IDLE", 0.005)
    poster = make_poster()

    async def post(receiver: Receiver) -> int:
        await asyncio.sleep(random.random() * 0.02)
        return (await poster.post(receiver.url, b"{}", {})).status

    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(receiving()) for _ in range(8)]
        for _ in range(20):
            assert set(await asyncio.gather(*(post(each) for each in receivers * 2))) == {200}


@pytest.mark.parametrize("code", [199 + 101, 302, 307, 400, 404, 429, 500, 503])
async def test_whatever_is_not_a_success_is_not_delivered(
    code: int, receiver: Receiver, make_poster: MakePoster
) -> None:
    async with receiving() as elsewhere:
        receiver.replies = [status(code, "so much", Location=elsewhere.url, Retry_After="7")]
        with pytest.raises(NotDelivered, match=f"answered {code}: so much") as raised:
            await make_poster().deliver(receiver.url, b"", {})
        assert raised.value.retry_after == 7
        assert elsewhere.received == []


async def test_a_receiver_that_is_gone_says_so(receiver: Receiver, make_poster: MakePoster) -> None:
    receiver.replies = [status(410)]
    with pytest.raises(ReceiverGone):
        await make_poster().deliver(receiver.url, b"", {})


@pytest.mark.parametrize("reply", [stalled, dripping])
async def test_the_time_for_the_whole_exchange_is_bounded(
    reply: Callable[[asyncio.StreamWriter], None], receiver: Receiver, make_poster: MakePoster
) -> None:
    receiver.replies = [reply]  # type: ignore[list-item]
    began = time.monotonic()
    with pytest.raises(NotDelivered, match="no whole answer within"):
        await make_poster(timeout=0.3).deliver(receiver.url, b"", {})
    assert time.monotonic() - began < 5


async def test_an_answer_without_end_is_read_no_further_than_needed(
    receiver: Receiver, make_poster: MakePoster
) -> None:
    receiver.replies = [pouring]
    answer = await make_poster(timeout=10).deliver(receiver.url, b"", {})
    assert answer.text == "x" * 500


async def test_an_answer_that_breaks_off_is_none(receiver: Receiver, make_poster: MakePoster) -> None:
    receiver.replies = [cut]
    with pytest.raises(NotDelivered, match="could not be reached"):
        await make_poster().deliver(receiver.url, b"", {})


async def test_nobody_listening_is_not_delivered(make_poster: MakePoster) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotDelivered, match=f"http://127.0.0.1:{port}/in could not be reached"):
        await make_poster().deliver(f"http://127.0.0.1:{port}/in", b"", {})


async def test_a_host_without_an_address_is_not_delivered(make_poster: MakePoster) -> None:
    async def nothing(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(NotDelivered, match="could not be looked up"):
        await make_poster(resolve=nothing).deliver("http://nowhere.example/", b"", {})


async def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, make_poster: MakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await make_poster().deliver(receiver.url, b"", {})
        assert (len(receiver.received), len(proxy.received)) == (1, 0)


REFUSED = [
    "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.0.7", "100.64.0.1",
    str(ipaddress.IPv4Address(0)), "100.100.100.200", "168.63.129.16", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "::1", "::", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "2002:7f00:1::", "2002:a9fe:a9fe::", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
    "2001:0:1::1", "2001:db8::1", "fec0::1",
    "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
async def test_a_name_of_an_address_inside_is_refused_where_it_is_connected_to(
    address: str, make_poster: MakePoster
) -> None:
    poster = make_poster(private=False, resolve=names(inside=[address]))
    with pytest.raises(AddressRefused, match=r"inside\.example"):
        await poster.deliver("http://inside.example/", b"", {})


async def test_one_refused_address_among_several_refuses_the_host(make_poster: MakePoster) -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "10.0.0.1"]

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        await make_poster(private=False, resolve=both).deliver("http://mixed.example/", b"", {})


async def test_a_host_is_looked_up_once_and_what_was_checked_is_connected_to(
    receiver: Receiver, make_poster: MakePoster
) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked = 0

    async def rebinding(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        return answers[min(asked, 2) - 1]

    poster = make_poster(resolve=rebinding)
    receiver.replies = [status(200, "", Connection="close")]
    await poster.deliver(f"http://rebinding.example:{receiver.port}/", b"", {})
    assert (asked, receiver.connections) == (1, 1)
    with pytest.raises(AddressRefused, match="metadata"):
        await poster.deliver(f"http://rebinding.example:{receiver.port}/", b"", {})
    assert (asked, receiver.connections) == (2, 1)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "api.localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.1", "017700000001", "[::1]", "10.0.0.1.",
        "[::ffff:10.0.0.1]", "169.254.169.254", "[fd00:ec2::254]",
    ],
)  # fmt: skip
def test_an_address_inside_that_stands_in_the_url_is_found_before_anything_is_looked_up(host: str) -> None:
    with pytest.raises(AddressRefused):
        Reach().check_host(host.strip("[]"))


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::93.184.215.14"]
)
def test_public_addresses_are_let_through(address: str) -> None:
    Reach().check_addresses("public.example", [address])


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "168.63.129.16",
        "fd00:ec2::254",
        "169.254.170.23",
        "fd00:ec2::23",
        "fd20:ce::254",
        "224.0.0.1",
        str(ipaddress.IPv4Address(0)),
        "::",
    ],
)
def test_some_addresses_are_refused_where_private_ones_are_not(address: str) -> None:
    Reach(private=True).check_addresses("inside.example", ["10.0.0.1", "127.0.0.1", "fe80::1", "fc00::1"])
    with pytest.raises(AddressRefused):
        Reach(private=True).check_addresses("inside.example", [address])


async def test_tls_is_held_to_the_name_although_an_address_is_connected_to(
    tmp_path: Path, make_poster: MakePoster, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified("be.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    names_asked_for = []
    server.sni_callback = lambda connection, name, context: names_asked_for.append(name)
    async with receiving(tls=server) as receiver:
        poster = make_poster(resolve=names(be=["127.0.0.1"], other=["127.0.0.1"]), timeout=5)
        await poster.deliver(f"https://be.example:{receiver.port}/", b"1", {})
        with pytest.raises(NotDelivered, match="certificate verify failed"):
            await poster.deliver(f"https://other.example:{receiver.port}/", b"2", {})
    assert [got.body for got in receiver.received] == ["1"]
    assert names_asked_for == ["be.example", "other.example"]


def certified(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this name, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    written = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(written)
    return folder / "certificate.pem", folder / "key.pem"


async def test_an_allow_list_lets_its_hosts_through_and_no_others(receiver: Receiver, make_poster: MakePoster) -> None:
    poster = make_poster(hosts="api.example *.our.example", resolve=names(api=["127.0.0.1"], other=["127.0.0.1"]))
    await poster.deliver(f"http://API.example:{receiver.port}/", b"", {})
    await poster.deliver(f"http://api.our.example:{receiver.port}/", b"", {})
    for host in ("other.example", "our.example", "notour.example", "api.example.other"):
        with pytest.raises(AddressRefused, match="SIDELANE_CALLBACK_HOSTS"):
            await poster.deliver(f"http://{host}:{receiver.port}/", b"", {})


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    now = 1_790_000_000.0
    assert seconds_of("120", now) == 120
    assert seconds_of("Mon, 21 Sep 2026 14:14:20 GMT", now) == 60
    assert seconds_of("Mon, 21 Sep 2020 14:14:20 GMT", now) == 0
    assert seconds_of("9" * 30, now) == 86_400
    assert [seconds_of(text, now) for text in (None, "", "soon", "-3", "1.5")] == [None] * 5
