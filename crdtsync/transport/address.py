"""Where somebody can be reached: "host:port" or "[IPv6]:port"."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from crdtsync.errors import BadValue

PORT_MAX = 65_535
_HOST_CHARACTERS_MAX = 253
_NAME = re.compile(r"[^\W_]([\w-]*\w)?(\.[^\W_]([\w-]*\w)?)*\.?", re.UNICODE)


class Address(NamedTuple):
    """A host, by name or number, and a TCP port. IPv6 hosts stand here without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def parse_address(text: str, *, listening: bool = False) -> Address:
    """Read "host:port" or "[::1]:port". Port 0 is allowed only for `listening`: any free port.

    Raises BadValue with a sentence that says what is expected.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise _refused(text, 'the port is missing: write it as "host:port", like "10.0.0.5:7000"')
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX)) else -1
    if not (0 if listening else 1) <= number <= PORT_MAX:
        raise _refused(text, f"the port must be a number from 1 to {PORT_MAX}")
    return Address(_host(host, text), number)


def format_address(host: str, port: int) -> str:
    """The inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine itself reaches this address."""
    host = parse_address(address, listening=True).host
    number = _number(host)
    return number.is_loopback if number else host.rstrip(".").lower() == "localhost"


def is_wildcard(address: str) -> bool:
    """Whether this stands for all addresses of a machine: good to listen on, nowhere to dial."""
    number = _number(parse_address(address, listening=True).host)
    return number is not None and number.is_unspecified


def _host(host: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        inner = host[1:-1]
        if not isinstance(_number(inner), ipaddress.IPv6Address):
            raise _refused(text, "what stands in brackets is no IPv6 address")
        return inner
    if ":" in host:
        raise _refused(text, 'an IPv6 address stands in brackets: write it like "[fe80::1]:7000"')
    if not host:
        raise _refused(text, "the host is missing: write 0.0.0.0 for all IPv4 addresses of this machine")
    looks_numeric = all(part.isdigit() for part in host.split("."))
    if len(host) > _HOST_CHARACTERS_MAX or not _NAME.fullmatch(host) or (looks_numeric and _number(host) is None):
        raise _refused(text, "what stands before the port is no host name and no IP address")
    return host


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(text: str, why: str) -> BadValue:
    shown = text if len(text) <= 80 else text[:80] + "…"
    return BadValue(f"{shown!r} is no address: {why}")
