"""Which addresses an import may reach, in every spelling of those that it may not."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.addresses import LONGEST_URL, Rules, is_public, place_of

ANYBODY = Rules()


@pytest.mark.parametrize(
    ("url", "origin", "target", "name"),
    [
        ("http://a.example", "http://a.example", "/", ""),
        ("HTTPS://A.Example:443/x/y%20z.mp4?q=1#part", "https://a.example", "/x/y%20z.mp4?q=1", "y z.mp4"),
        ("http://a.example:8080/f", "http://a.example:8080", "/f", "f"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]", "/", ""),
        ("https://a.example/%ff", "https://a.example", "/%ff", ""),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: str, target: str, name: str) -> None:
    place = place_of(url)
    assert (place.origin, place.target, place.name) == (origin, target, name)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//a.example/x", "file:///etc/passwd", "gopher://a.example/", "ftp://a.example/", "data:,x",
        "javascript:1", "http://", "http:///x", "http://user@a.example/", "http://user:secret@a.example/",
        "http://a.example@b.example/", "http://a.example:0/", "http://a.example:65536/", "http://a.example:x/",
        "http://a.example:/", "http://a.example:99999999999/", "http://a.exa\tmple/", "http://a.example/a b",
        "http://a.example\\@b.example/", "http://a.example/\r\nHost: b", "http://ä.example/", "http://a.example/ä",
        "http://[::1/", "http://[fe80::1%25eth0]/", "http://-a.example/", "http://a.example/" + "x" * LONGEST_URL,
        "http://a%2eexample/", "http://a.example,b.example/",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        place_of(url)


@given(st.text(max_size=60))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    for url in (text, "http://" + text, "http://a.example/" + text):
        try:
            place = place_of(url)
        except ValueError:
            continue
        assert place.host and "@" not in place.host and 0 < place.port < 65536
        assert place_of(place.origin + place.target) == place, "it is understood in one way only"


CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "192.88.99.1",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:0a00:1::", "fe80::1", "fec0::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "2001::1", "2001:10::1", "2001:db8::1", "3fff::1", "100::1", "4000::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]  # fmt: skip
OPEN = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not ANYBODY.allow("a.example", ip_address(address))


@pytest.mark.parametrize("address", OPEN)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(ip_address(address))
    assert ANYBODY.allow("a.example", ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0x7f000001", "017700000001", "127.0.0.1.",
        "169.254.169.254", "2852039166", "[::1]", "[::ffff:127.0.0.1]", "[::]", "[fd00:ec2::254]", "localhost",
        "LOCALHOST", "localhost.", "a.localhost", "10.0.0.1", "0",
    ],
)  # fmt: skip
def test_what_is_certain_is_refused_without_asking_anybody(host: str) -> None:
    assert "BUCKETLINE_IMPORT_ALLOW" in str(ANYBODY.fault_of(place_of(f"http://{host}/")))


def test_ports() -> None:
    assert ANYBODY.fault_of(place_of("https://a.example:443/")) is None
    assert "6379" in str(ANYBODY.fault_of(place_of("http://a.example:6379/")))
    assert Rules.of((8080,), ()).fault_of(place_of("http://a.example:8080/")) is None
    both = str(ANYBODY.fault_of(place_of("http://127.0.0.1:8080/")))
    assert "BUCKETLINE_IMPORT_PORTS" in both and "BUCKETLINE_IMPORT_ALLOW" in both, "one start again, not two"


def test_the_operator_opens_networks_and_hosts() -> None:
    rules = Rules.of((80,), ("10.1.0.0/16", "Files.Internal", "fd12::/16", "192.168.7.7"))
    assert rules.allow("whoever", ip_address("10.1.2.3"))
    assert rules.allow("whoever", ip_address("192.168.7.7"))
    assert rules.allow("whoever", ip_address("fd12::1"))
    assert not rules.allow("whoever", ip_address("10.2.0.1"))
    assert rules.allow("files.internal", ip_address("10.9.9.9"))
    assert rules.allow("FILES.internal.", ip_address("127.0.0.1"))
    assert not rules.allow("files.internal.evil.example", ip_address("10.9.9.9"))
    assert rules.fault_of(place_of("http://10.1.2.3/")) is None


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"])
def test_a_host_that_is_opened_does_not_open_where_clouds_keep_their_secrets(address: str) -> None:
    assert not Rules.of((80,), ("files.internal",)).allow("files.internal", ip_address(address))
    assert Rules.of((80,), (address,)).allow("files.internal", ip_address(address))


def test_a_query_is_not_told() -> None:
    assert place_of("https://a.example/f?sig=secret").shown == "https://a.example/f?…"
