"""Where a URL of a user's may lead: never to this machine, its network or what stands for them, however written."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.policy.addresses import NotPublic, is_public, literal_address, web_address

CLOSED = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255",
    "169.254.169.254", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::8.8.8.8",
    "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "feff::1", "ff02::1", "4000::1", "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:10.0.0.1",
]  # fmt: skip
OPEN = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "198.17.255.255",
    "223.255.255.255", "11.0.0.1", "192.0.1.1", "2606:4700:4700::1111", "2a00:1450:4001::200e",
    "2001:4860:4860::8888",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_addresses_that_are_not_the_public_internets_are_closed(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1))
def test_nothing_that_python_calls_private_is_open(number: int) -> None:
    address = ip_address(number)
    if (
        address.is_private
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
    ):
        assert not is_public(address)


@given(st.integers(0, 2**128 - 1))
def test_nothing_of_ipv6_that_python_calls_private_is_open(number: int) -> None:
    address = ip_address(number)
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


LOOPBACK = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7F.0x0.0x0.0x1", "017700000001",
    "0177.0.0.1", "0177.0x0.1", "127.0.0.01", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "[fe80::1%25eth0]",
    "127.0.0.1.", "127。0。0。1", "１２７.0.0.1", "%31%32%37.0.0.1", "①②⑦.0.0.1", "0", "0.0.0.0", "0x0",
    "00000000177.0.0.1", "localhost", "LOCALHOST", "localhost.", "a.localhost", "ⓛocalhost",
    "metadata.google.internal", "printer.local", "router.home.arpa", "metadata", "[::]", "[0::0]",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", LOOPBACK)
def test_no_notation_leads_inside(host: str, scheme: str) -> None:
    for tail in ("", "/", ":8080/a.png", "/a.png?b=c"):
        with pytest.raises(NotPublic):
            web_address(f"{scheme}://{host}{tail}")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com@127.0.0.1/", "https://user:secret@example.com/", "https://example.com\\@127.0.0.1/",
        "https://127.0.0.1\\.example.com/", "https://exa mple.com/", "https://example.com\t/", "\nhttps://example.com/",
        "https://example.com/\r\nHost: x", "file:///etc/passwd", "ftp://example.com/a.png", "gopher://example.com",
        "javascript:1", "https:///a.png", "https://", "", "example.com/a.png", "https://[::1/", "https://example.com:x/",
        "https://example.com:99999/", "https://256.256.256.256/", "https://1.2.3.4.5/", "https://4294967296/",
        "https://1.2.3.08/", "https://a.b.0x7f000001/", "https://1.16777216/", "https://[1.2.3.4]/", "https://[g::1]/",
        "https://%ff.example.com/", "https://a%00b.example.com/", "https://a%2f127.0.0.1/", "HTTPS:127.0.0.1/",
    ],
)  # fmt: skip
def test_what_clients_read_in_different_ways_is_refused(url: str) -> None:
    with pytest.raises(NotPublic):
        web_address(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.com/a.png", "example.com", 443),
        ("http://example.com:8080/", "example.com", 8080),
        ("https://EXAMPLE.com./a", "example.com", 443),
        ("https://bücher.example.com/", "bücher.example.com", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]:444/", "2606:4700:4700::1111", 444),
        ("https://1.example.com/", "1.example.com", 443),
        ("https://internal.example.com/", "internal.example.com", 443),
        ("https://notlocalhost.com/", "notlocalhost.com", 443),
        ("https://0x7f.example.com/", "0x7f.example.com", 443),
    ],
)
def test_public_urls_lead_where_they_say(url: str, host: str, port: int) -> None:
    found = web_address(url)
    assert (found.host, found.port) == (host, port)


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(["d", "o", "x"]), min_size=4, max_size=4), st.integers(1, 4))
def test_every_notation_of_an_address_is_that_address(number: int, bases: list[str], count: int) -> None:
    pieces = [number >> 8 * (3 - i) & 255 for i in range(count - 1)]
    pieces.append(number & (1 << 8 * (5 - count)) - 1)
    form = {"d": str, "o": lambda n: f"0{n:o}", "x": hex}
    host = ".".join(form[base](piece) for base, piece in zip(bases, pieces, strict=False))
    assert literal_address(host) == ip_address(number)
    assert socket.inet_aton(host) == ip_address(number).packed  # which is how the C library reads it


@given(st.text(max_size=40))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/a.png"):
        try:
            found = web_address(url)
        except NotPublic:
            continue
        assert found.address is None or is_public(found.address)
