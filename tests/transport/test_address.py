"""Addresses that are accepted, and sentences for those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.errors import BadValue
from crdtsync.transport.address import Address, format_address, is_loopback, is_wildcard, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7000", "127.0.0.1", 7000),
        ("[::1]:7000", "::1", 7000),
        ("[fe80::1%eth0]:7000", "fe80::1%eth0", 7000),
        ("server.praxis-am-markt.example:65535", "server.praxis-am-markt.example", 65535),
        ("praxis_server:1", "praxis_server", 1),
        ("müller.example:443", "müller.example", 443),
        ("a:1", "a", 1),
    ],
)
def test_accepted(text: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert address == (host, port)
    assert str(address) == text == format_address(host, port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the port is missing"),
        ("localhost", "the port is missing"),
        ("localhost:", "the port must be a number"),
        ("localhost:http", "the port must be a number"),
        ("localhost:٣", "the port must be a number"),
        ("localhost:65536", "the port must be a number"),
        ("localhost:-1", "the port must be a number"),
        ("localhost:0", "the port must be a number"),
        ("localhost:" + "9" * 5_000, "the port must be a number"),
        (":7000", "the host is missing"),
        ("::1:7000", "stands in brackets"),
        ("[::1:7000", "stands in brackets"),
        ("[1.2.3.4]:7000", "no IPv6 address"),
        ("[]:7000", "no IPv6 address"),
        ("https://example.org:443", "stands in brackets"),
        ("user@host:1", "no host name"),
        ("two words:1", "no host name"),
        ("-x:1", "no host name"),
        ("a..b:1", "no host name"),
        ("1.2.3:1", "no host name"),
        ("1.2.3.400:1", "no host name"),
        ("x" * 254 + ":1", "no host name"),
        ("host/path:1", "no host name"),
        ("host\n:1", "no host name"),
    ],
)
def test_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(BadValue, match=words) as caught:
        parse_address(text)
    assert len(str(caught.value)) < 250


def test_port_0_is_for_listening() -> None:
    assert parse_address("0.0.0.0:0", listening=True) == Address("0.0.0.0", 0)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except BadValue:
        return
    assert parse_address(str(address)) == address


def test_what_only_this_machine_reaches() -> None:
    for address in ("127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "LOCALHOST.:1"):
        assert is_loopback(address) and not is_wildcard(address)
    for address in ("10.0.0.1:1", "server:1", "[fe80::1]:1"):
        assert not is_loopback(address) and not is_wildcard(address)
    for address in ("0.0.0.0:0", "[::]:7000"):
        assert is_wildcard(address) and not is_loopback(address)
