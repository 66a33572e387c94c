"""A name is refused if any of its answers is forbidden, whatever would be dialled."""

import socket
from typing import Any

import pytest

from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.courier.names import NameJudge, authority_of
from waypost.ports.sender import SendReport, SendRequest
from waypost.settings import load_settings

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://a.example/x?y=/z", "a.example"),
        ("https://a.example:8443", "a.example:8443"),
        ("http://a.example?x=1", "a.example"),
        ("http://a.example#f", "a.example"),
        ("http://[2001:db8::1]:80/x", "[2001:db8::1]:80"),
    ],
)
def test_the_authority_of_a_url(url: str, authority: str) -> None:
    assert authority_of(url) == authority


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name server: answers by name."""
    table: dict[str, list[str]] = {}
    whole = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **named: Any) -> Any:
        if host not in table:
            return whole(host, *rest, **named)
        if not table[host]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        kinds = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in table[host]]
        return [(kind, socket.SOCK_STREAM, 6, "", (one, 0)) for kind, one in zip(kinds, table[host], strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return table


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([PUBLIC], ""),
        ([PUBLIC, PRIVATE], "address_forbidden"),
        ([PRIVATE, PUBLIC], "address_forbidden"),
        ([PUBLIC, "::ffff:10.0.0.7"], "address_forbidden"),
        ([PUBLIC, "64:ff9b::a00:7"], "address_forbidden"),
        ([], ""),  # does not resolve: libcurl says so
    ],
)
def test_any_forbidden_answer_forbids_the_name(names: dict[str, list[str]], answers: list[str], code: str) -> None:
    names["p.example"] = answers
    judge = NameJudge(AddressGuard([], [80, 443]), lambda authority, judgement: None)
    assert judge._judge("p.example") == code
    assert judge._judge("p.example:81") == code
    allowing = NameJudge(
        AddressGuard(["10.0.0.0/8", "64:ff9b::/96", "::ffff:0:0/96"], [80, 443]), lambda authority, judgement: None
    )
    assert allowing._judge("p.example") == ""


def send(sender: CurlSender, *urls: str) -> dict[int, SendReport]:
    sender.submit([SendRequest(nth, "GET", url, [], b"", 2000, 4000) for nth, url in enumerate(urls)])
    found: dict[int, SendReport] = {}
    for _ in range(200):
        for report in sender.reports(50):
            found[report.token] = report
        if len(found) == len(urls):
            break
    return found


def test_the_sender_dials_no_such_name_and_says_why(names: dict[str, list[str]]) -> None:
    names["mixed.example"] = [PUBLIC, PRIVATE]
    sender = CurlSender(load_settings(None, {}).courier, AddressGuard(["127.0.0.0/8", "::1"], [80]))
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]  # bound, not listening: refused at once
            found = send(
                sender,
                "http://mixed.example/a",
                "http://mixed.example/b",
                f"http://127.0.0.1:{port}/",
                "http://never.invalid/",
            )
    finally:
        sender.close()
    assert [found[nth].code for nth in range(4)] == [
        "address_forbidden",
        "address_forbidden",
        "connect_failed",
        "dns_failed",
    ]
    assert found[0].detail.startswith(f"mixed.example resolves to {PRIVATE}") and not found[0].sent
