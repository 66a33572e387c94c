"""Where a URL leads: odd spellings have one meaning, and libcurl is given that one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.partners import OK, get, send, serving
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.courier.places import spot_of
from waypost.errors import WaypostError
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).courier


@pytest.mark.parametrize(
    ("url", "host", "port", "front"),
    [
        ("http://a.example/x?y=/z", "a.example", 80, "http://a.example"),
        ("https://a.example:8443", "a.example", 8443, "https://a.example:8443"),
        ("http://a.example?x=http://b/", "a.example", 80, "http://a.example"),
        ("http://a.example#f", "a.example", 80, "http://a.example"),
        ("http://a.example:?x", "a.example", 80, "http://a.example"),
        ("HTTP://A.Example/", "a.example", 80, "http://a.example"),
        ("http://a.example./", "a.example", 80, "http://a.example"),
        ("http://%61.ex%41mple/", "a.example", 80, "http://a.example"),
        ("http://user:p%40w@a.example/", "a.example", 80, "http://user:p%40w@a.example"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example"),
        ("http://b%C3%BCcher.example/", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example"),
        ("http://\uff41.example/", "a.example", 80, "http://a.example"),
        ("http://a\u3002example/", "a.example", 80, "http://a.example"),
        ("http://my_host.example/", "my_host.example", 80, "http://my_host.example"),
        ("http://127.0.0.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://2130706433/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://0X7F.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://017700000001/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://0177.0.0.01/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://127.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://127.0.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://127.0.0.1./", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://0/", "0.0.0.0", 80, "http://0.0.0.0"),
        ("http://%31%32%37.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://\u2460\u2461\u2466.0.0.1/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://127\u30020\u30020\u30021/", "127.0.0.1", 80, "http://127.0.0.1"),
        ("http://[::1]:81/", "::1", 81, "http://[::1]:81"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1", 80, "http://[::1]"),
        ("http://[::FFFF:127.0.0.1]/", "::ffff:7f00:1", 80, "http://[::ffff:7f00:1]"),
    ],
)
def test_a_front_is_read(url: str, host: str, port: int, front: str) -> None:
    spot = spot_of(url)
    assert (spot.host, spot.port, spot.front) == (host, port, front)
    again = spot_of(spot.front + url[spot.length :])
    assert (again.host, again.port, again.front, again.is_literal) == (host, port, front, spot.is_literal)


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "%31%32%37.1",
    "\u2460\u2461\u2466.0.0.1",
    "127\u30020\u30020\u30021",
    "[::1]",
    "[0:0::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[::127.0.0.1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "user@127.0.0.1",
    "8.8.8.8:80@127.0.0.1",
    "0",
    "169.254.169.254",
    "0xa9fea9fe",
    "[fd00:ec2::254]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_gets_past_the_guard(host: str) -> None:
    sender = CurlSender(SETTINGS, AddressGuard([], [80]))
    try:
        with serving(lambda nth, data: OK) as server:
            (report,) = send(sender, get(0, url=f"http://{host}:{server.port}/"))
            assert (report.code, report.sent) == ("address_forbidden", False), report
            assert server.connections == 0
    finally:
        sender.close()


@pytest.mark.parametrize("host", [one for one in SPELLINGS if spot_of(f"http://{one}/").host == "127.0.0.1"])
def test_what_is_judged_is_what_is_dialled(host: str) -> None:
    """The same spellings where loopback is allowed: libcurl goes where the guard was told."""
    sender = CurlSender(SETTINGS, AddressGuard(["127.0.0.0/8"], []))
    try:
        with serving(lambda nth, data: OK) as server:
            (report,) = send(sender, get(0, url=f"http://{host}:{server.port}/pb"))
            assert (report.status, report.address) == (200, "127.0.0.1")
            assert f"\r\nHost: 127.0.0.1:{server.port}\r\n".encode() in server.requests[0]
    finally:
        sender.close()


@given(st.text(alphabet="abAB019.:@[]/?#%\\\u00fc\u3002\uff0e-_xX \t\r\n\0", max_size=30))
def test_every_text_has_one_reading_or_none(rest: str) -> None:
    try:
        spot = spot_of("http://" + rest)
    except WaypostError as error:
        assert error.code == "render_bad_url" and error.detail
        return
    assert spot.front.isascii() or "@" in spot.front
    again = spot_of(spot.front)
    assert (again.host, again.port, again.is_literal) == (spot.host, spot.port, spot.is_literal)
