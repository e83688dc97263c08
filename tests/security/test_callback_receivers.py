"""Hostile receivers of callbacks: addresses that are not public, and answers that are not what they should be."""

import time

import pytest

from sidelane import Webhook
from sidelane.callbacks.http_client import retry_after_seconds
from sidelane.callbacks.ssrf import AddressPolicy, AddressRefused, address_class
from sidelane.model.job import DAY
from sidelane.model.settings import Settings

SPECIAL = [
    "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.255", "192.88.99.0", "192.88.99.1",
    "192.88.99.255", "3fff::", "3fff::1", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:192.88.99.1",
    "2002:c058:6301::1", "64:ff9b::c058:6301", "2002:c000:9::1", "5f00::1", "100::1", "2001:db8::1", "64:ff9b:1::1",
    "100.64.0.1", "198.18.0.1", "203.0.113.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
PUBLIC = ["192.0.1.0", "191.255.255.255", "192.88.98.255", "192.88.100.0", "8.8.8.8", "2001:4860:4860::8888", "2606::1"]


@pytest.mark.parametrize("address", SPECIAL)
def test_special_address_is_refused(address: str) -> None:
    assert address_class(address) is not None
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressRefused):
        Webhook(f"https://{host}/").destination(Settings())


@pytest.mark.parametrize("address", ["192.0.0.1", "192.0.0.9", "192.88.99.1", "3fff::1"])
def test_reserved_address_is_refused_even_if_private_ones_are_allowed(address: str) -> None:
    with pytest.raises(AddressRefused, match="reserved"):
        AddressPolicy(private=True).check_addresses("be.example", [address])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_beside_a_special_network_is_allowed(address: str) -> None:
    assert address_class(address) is None


@pytest.mark.parametrize(
    "text",
    [
        "Fri, 31 Dec 10000 23:59:59 GMT", "Fri, 31 Dec 99999999999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 9999 23:59:59 -9999", "Sat, 01 Jan 0000 00:00:00 GMT",
        "Sat, 01 Jan 0001 00:00:00 +2359", "Mon, 99 Xyz 2026 99:99:99 GMT", "9" * 5000, "-1", "1e9", "inf", "nan", "", " ",
        "²", "\x00", "Fri", ",", "Fri, 31 Dec 9999 23:59:59", "31 Dec 9999", "Fri, 31 Dec 9999 23:59:60 GMT", "0x10",
    ],
)  # fmt: skip
def test_retry_after_of_any_form_is_at_most_a_day_or_ignored(text: str) -> None:
    seconds = retry_after_seconds(text, time.time())
    assert seconds is None or 0 <= seconds <= DAY
