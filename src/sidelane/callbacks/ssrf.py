"""SSRF protection: callbacks reach public addresses only, unless configured otherwise."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sidelane.model.errors import ArgumentsError
from sidelane.model.settings import Settings

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Metadata services of clouds, which return credentials. One of them is a public address."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
GLOBAL = ipaddress.IPv6Network("2000::/3")
COMPATIBLE = ipaddress.IPv6Network("::/96")

RESERVED = (
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    ipaddress.ip_network("192.88.99.0/24"),  # the former 6to4 relays (RFC 7526)
    ipaddress.ip_network("3fff::/20"),  # documentation (RFC 9637)
)
"""Networks of special addresses, which some versions of Python take for public ones, in whole or in part."""

PRIVATE_NETWORKS = frozenset({"private", "loopback", "link-local"})
"""Classes of addresses that `allow_private_callbacks` allows."""


class AddressRefused(ArgumentsError):
    """Callbacks may not reach the receiver's host or address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """The addresses that callbacks may reach.

    `hosts`, unless empty, are the only allowed hosts; "*.example.com" matches all subdomains of example.com.
    """

    private: bool = False
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the policy of the settings."""
        hosts = (host.strip().lower().rstrip(".") for host in settings.callback_hosts.split(","))
        return cls(private=settings.allow_private_callbacks, hosts=frozenset(host for host in hosts if host))

    def check_host(self, host: str) -> None:
        """Check a host before it is looked up. Raises `AddressRefused`."""
        name = host.lower().rstrip(".")
        if self.hosts and not any(_matches(allowed, name) for allowed in self.hosts):
            raise AddressRefused(f"Callbacks may not reach {host}: it is not in SIDELANE_CALLBACK_HOSTS.")
        if not self.private and (name == "localhost" or name.endswith(".localhost")):
            raise _refused(host, host, "loopback")
        literal = _literal(name)
        if literal is not None:
            self.check_addresses(host, [literal])

    def check_addresses(self, host: str, addresses: Sequence[str]) -> None:
        """Check all addresses of a host. Raises `AddressRefused` if one address is not allowed."""
        for address in addresses:
            kind = address_class(address)
            if kind is not None and not (self.private and kind in PRIVATE_NETWORKS):
                raise _refused(host, address, kind)


def address_class(address: str) -> str | None:
    """Return the class of an address that is not public, e.g. "loopback", or None if the address is public.

    An IPv4 address inside an IPv6 address (mapped, compatible, 6to4, NAT64) counts as the IPv4 address.
    """
    ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    special = any(ip in network for network in RESERVED)
    kinds = {
        "metadata": ip in METADATA,
        "unspecified": ip.is_unspecified,
        "multicast": ip.is_multicast,
        "loopback": ip.is_loopback,
        "link-local": ip.is_link_local,
        "private": ip.is_private and not ip.is_reserved and not special,
        "reserved": special or not ip.is_global or ip.is_reserved or (ip.version == 6 and ip not in GLOBAL),
    }
    return next((kind for kind, so in kinds.items() if so), None)


def _embedded(ip: IP) -> IP:
    """Return the IPv4 address inside an IPv6 address, or the address itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour or ip
    if ip in NAT64 or (ip in COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _literal(host: str) -> str | None:
    """Return the address if a host is an address, in any form that a resolver accepts, e.g. 127.1 or 2130706433.

    Otherwise return None.
    """
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _matches(allowed: str, host: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _refused(host: str, address: str, kind: str) -> AddressRefused:
    named = host if host == address else f"{host} ({address})"
    hint = " SIDELANE_ALLOW_PRIVATE_CALLBACKS=true allows those." if kind in PRIVATE_NETWORKS else ""
    return AddressRefused(f"Callbacks may not reach {named}: it is a {kind} address.{hint}")
