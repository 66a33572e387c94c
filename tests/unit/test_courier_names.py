"""Names are resolved once, judged whole, kept as long as their answers hold; what is dialled is what was judged."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.name_server import NameServer
from support.partners import CLOSING, OK, RawServer, get, send, serving
from waypost.courier import curl
from waypost.courier.curl import CurlSender
from waypost.courier.guard import AddressGuard
from waypost.courier.names import KNOWN_MAX, LATE_MS, Found, Names
from waypost.ports.sender import SendReport
from waypost.settings import CourierSettings, load_settings
from waypost.telemetry.stats import Stats

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.close()


def settings_with(server: NameServer, **changes: Any) -> CourierSettings:
    return msgspec.structs.replace(load_settings(None, {}).courier, dns_servers=(server.address,), **changes)


class Asking:
    """`Names` with a clock of its own, waiting for answers as the sender's thread does."""

    def __init__(self, server: NameServer, allow: list[str] | None = None, **changes: Any) -> None:
        self.stats = Stats("courier-0")
        self._woken = threading.Event()
        self.now_ms = 1_000_000.0
        self.names = Names(
            AddressGuard(allow or [], [80, 443]), settings_with(server, **changes), self._woken.set, self.stats
        )

    def look(self, url: str) -> Found | None:
        return self.names.look(self.names.place(url), self.now_ms)

    def found(self, url: str) -> Found:
        """What is known of a place, once it is known."""
        for _ in range(3):
            found = self.look(url)
            if found is not None:
                return found
            self.settle()
        raise AssertionError("no answer")

    def settle(self) -> None:
        assert self._woken.wait(10)
        self._woken.clear()
        self.names.settle(self.now_ms)


@pytest.fixture
def asking(server: NameServer) -> Iterator[Asking]:
    asking = Asking(server)
    yield asking
    asking.names.close()


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([PUBLIC], ""),
        ([PUBLIC, "2606:4700::1111"], ""),
        ([PUBLIC, PRIVATE], "address_forbidden"),
        ([PRIVATE, PUBLIC], "address_forbidden"),
        ([PUBLIC, "::ffff:10.0.0.7"], "address_forbidden"),
        ([PUBLIC, "64:ff9b::a00:7"], "address_forbidden"),
        ([PUBLIC] * 20 + [PRIVATE], "address_forbidden"),
        ([], "dns_failed"),
    ],
)
def test_any_forbidden_answer_forbids_the_name(
    asking: Asking, server: NameServer, answers: list[str], code: str
) -> None:
    server.table["p.example"] = answers
    for url in ("http://p.example/x", "https://p.example:81/", "http://user:pw@P.Example./?a=/b"):
        found = asking.found(url)
        assert found.judgement == code
        assert bool(found.addresses) is (code == "")
        if code == "address_forbidden":
            assert found.judgement.why.startswith("p.example")


def test_what_the_operator_allows_is_fine(server: NameServer) -> None:
    server.table["p.example"] = [PUBLIC, PRIVATE, "64:ff9b::a00:7"]
    asking = Asking(server, ["10.0.0.0/8", "64:ff9b::/96"])
    assert set(asking.found("http://p.example/").addresses) == {PUBLIC, PRIVATE, "64:ff9b::a00:7"}
    asking.names.close()


def test_an_answer_holds_for_its_ttl_and_no_longer(asking: Asking, server: NameServer) -> None:
    server.table["p.example"], server.ttl_s = [PUBLIC], 60
    assert asking.found("http://p.example/a").addresses == (PUBLIC,)
    asking.now_ms += 59_900
    server.table["p.example"] = ["93.184.216.35"]
    assert asking.found("https://p.example:8443/b").addresses == (PUBLIC,)
    assert server.asked["p.example"] == 1
    assert asking.stats.values["courier_names_asked"] == 1
    asking.now_ms += 100 + LATE_MS
    assert asking.look("http://p.example/") is None  # it is being asked for again


@pytest.mark.parametrize(("ttl_s", "kept_ms"), [(0, 5_000), (1, 5_000), (60, 60_000), (86_400, 300_000)])
def test_a_ttl_has_bounds(asking: Asking, server: NameServer, ttl_s: int, kept_ms: int) -> None:
    server.table["p.example"], server.ttl_s = [PUBLIC], ttl_s
    assert asking.found("http://p.example/").until_ms == asking.now_ms + kept_ms


def test_a_longer_ttl_than_the_bound_is_asked_for_again(asking: Asking, server: NameServer) -> None:
    """The resolver's library has a memory of its own, which must not answer in the name server's stead."""
    server.table["p.example"], server.ttl_s = [PUBLIC], 86_400
    assert asking.found("http://p.example/").addresses == (PUBLIC,)
    server.table["p.example"] = ["93.184.216.35"]
    end = time.monotonic() + 10
    while asking.found("http://p.example/").addresses != ("93.184.216.35",):
        assert time.monotonic() < end, "the old address stays for ever"
        asking.now_ms += 400_000  # its memory is emptied in the background, which takes a moment


def test_a_busy_name_is_used_a_little_longer_while_it_is_asked_for(asking: Asking, server: NameServer) -> None:
    server.table["p.example"] = [PUBLIC]
    asking.found("http://p.example/")
    asking.now_ms += 60_000 + LATE_MS - 1
    assert asking.look("http://p.example/") is not None
    assert asking.stats.values["courier_names_asked"] == 2
    asking.now_ms += 1
    assert asking.look("http://p.example/") is None


def test_a_failure_is_remembered_shortly(asking: Asking, server: NameServer) -> None:
    assert asking.found("http://p.example/").judgement == "dns_failed"
    assert "p.example" in asking.found("http://p.example/").judgement.why
    assert server.asked["p.example"] == 1
    server.table["p.example"] = [PUBLIC]
    end = time.monotonic() + 10
    while asking.found("http://p.example/").judgement:
        assert time.monotonic() < end, "a name that was repaired stays unknown"
        asking.now_ms += 2_000
    assert asking.stats.values["courier_names_failed"] >= 1


def test_what_is_remembered_is_bounded(asking: Asking) -> None:
    for number in range(KNOWN_MAX + 10):
        asking.names.place(f"http://8.8.{number >> 8}.{number & 255}/")
    assert len(asking.names._places) <= KNOWN_MAX


# --- the sender on real sockets ----------------------------------------------------------------------


@pytest.fixture
def sender(server: NameServer) -> Iterator[CurlSender]:
    sender = CurlSender(settings_with(server, dns_timeout_ms=400), AddressGuard(["127.0.0.0/8"], [80]))
    yield sender
    sender.close()


def test_the_sender_dials_no_such_name_and_says_why(sender: CurlSender, server: NameServer) -> None:
    server.table["mixed.example"] = [PUBLIC, PRIVATE]
    found = send(
        sender,
        get(80, token=1, url="http://mixed.example/a"),
        get(80, token=2, url="http://mixed.example/b"),
        get(80, token=3, url="http://never.invalid/"),
    )
    assert [report.code for report in found] == ["address_forbidden", "address_forbidden", "dns_failed"]
    assert found[0].detail.startswith(f"mixed.example resolves to {PRIVATE}")
    assert not any(report.sent for report in found)
    assert server.asked["mixed.example"] == 1


def test_the_address_that_was_judged_is_the_one_that_is_dialled(sender: CurlSender, server: NameServer) -> None:
    with serving(lambda nth, data: CLOSING) as partner:
        server.table["p.example"] = ["127.0.0.1"]
        url = f"http://p.example:{partner.port}/"
        first = send(sender, get(0, url=url))[0]
        server.table["p.example"] = [PRIVATE]  # from now on: nobody asks, since the answer holds
        again = send(sender, get(0, token=2, url=url))[0]
        assert [(one.status, one.address) for one in (first, again)] == [(200, "127.0.0.1")] * 2
        assert partner.connections == 2 and not again.reused
    assert server.asked["p.example"] == 1
    assert first.dns_us > 0


def test_of_several_addresses_one_that_answers_is_enough(sender: CurlSender, server: NameServer) -> None:
    with serving(lambda nth, data: OK) as partner:
        server.table["p.example"] = ["127.0.0.3", "127.0.0.1"]  # nothing listens at the first
        report = send(sender, get(0, url=f"http://p.example:{partner.port}/"))[0]
    assert (report.status, report.address) == (200, "127.0.0.1")


def test_a_name_that_moves_is_followed(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_ms = 0.0
    now_ms = curl.monotonic_ms
    monkeypatch.setattr(curl, "monotonic_ms", lambda: now_ms() + moved_ms)
    sender = CurlSender(settings_with(server), AddressGuard(["127.0.0.0/8"], [80]))
    try:
        with serving(lambda nth, data: OK if nth == 1 else CLOSING) as old:
            new = RawServer(lambda nth, data: OK, "127.0.0.2", old.port)
            server.table["p.example"], server.ttl_s = ["127.0.0.1"], 0
            url = f"http://p.example:{old.port}/"
            assert send(sender, get(0, url=url))[0].address == "127.0.0.1"
            server.table["p.example"] = ["127.0.0.2"]
            kept = send(sender, get(0, token=2, url=url))[0]
            assert (kept.address, kept.reused) == ("127.0.0.1", True)
            moved_ms = 20_000
            moved = send(sender, get(0, token=3, url=url))[0]
            new.close()
    finally:
        sender.close()
    assert (moved.status, moved.address) == (200, "127.0.0.2")


def test_a_name_that_turns_inwards_is_refused_though_a_connection_stands(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: first an address that is allowed, then one that is not."""
    moved_ms = 0.0
    now_ms = curl.monotonic_ms
    monkeypatch.setattr(curl, "monotonic_ms", lambda: now_ms() + moved_ms)
    sender = CurlSender(settings_with(server), AddressGuard(["127.0.0.1"], [80]))
    try:
        with serving(lambda nth, data: OK) as partner:
            server.table["p.example"], server.ttl_s = ["127.0.0.1"], 0
            url = f"http://p.example:{partner.port}/"
            assert send(sender, get(0, url=url))[0].status == 200
            for token, answers in enumerate((["127.0.0.2"], ["127.0.0.1", "169.254.169.254"]), 2):
                server.table["p.example"] = answers
                moved_ms += 20_000
                (report,) = send(sender, get(0, token=token, url=url))
                assert (report.code, report.sent) == ("address_forbidden", False)
            assert len(partner.requests) == 1
            server.table["p.example"] = ["127.0.0.1"]
            moved_ms += 20_000
            assert send(sender, get(0, token=9, url=url))[0].status == 200
    finally:
        sender.close()


def test_an_answer_that_comes_late_is_taken(server: NameServer) -> None:
    asking = Asking(server, dns_timeout_ms=30_000)
    try:
        server.table["p.example"] = [PUBLIC]
        assert asking.look("http://p.example/") is None
        asking.names.settle(asking.now_ms + 30_000) if not asking.names.has_answers else None
        end = time.monotonic() + 10
        while (found := asking.names._names["p.example"].found) is None or found.judgement:
            assert time.monotonic() < end
            asking.names.settle(asking.now_ms + 30_000)
        assert found.addresses == (PUBLIC,)
    finally:
        asking.names.close()


def test_a_name_server_that_hangs_holds_up_nobody_else(sender: CurlSender, server: NameServer) -> None:
    hanging = [f"hang-{number}.example" for number in range(200)]
    server.silent.update(hanging)
    with serving(lambda nth, data: OK) as partner:
        server.table["p.example"] = ["127.0.0.1"]
        requests = [get(0, token=nth, url=f"http://{name}/") for nth, name in enumerate(hanging)]
        sender.submit([*requests, get(0, token=1000, url=f"http://p.example:{partner.port}/")])
        order: list[SendReport] = []
        while len(order) <= len(hanging):
            order += sender.reports(1000)
    assert (order[0].token, order[0].status) == (1000, 200)
    assert {report.code for report in order[1:]} == {"dns_failed"}
    assert all("400 ms" in report.detail or "imeout" in report.detail for report in order[1:])


def test_a_name_is_waited_for_no_longer_than_a_connection(server: NameServer) -> None:
    server.silent.add("hang.example")
    sender = CurlSender(settings_with(server, dns_timeout_ms=30_000), AddressGuard(["127.0.0.0/8"], [80]))
    try:
        url = "http://hang.example/"
        found = send(
            sender,
            get(0, token=1, url=url, connect_timeout_ms=200),
            get(0, token=2, url=url, total_timeout_ms=100),
            get(0, token=3, url=url, connect_timeout_ms=300),
        )
        assert [(one.code, one.sent) for one in found] == [("dns_failed", False)] * 3
        assert found[1].total_us < found[0].total_us < found[2].total_us
    finally:
        sender.close()


def test_libcurl_never_resolves_by_itself(server: NameServer) -> None:
    sender = CurlSender(settings_with(server), AddressGuard(["127.0.0.0/8"], [80]))
    try:
        server.table["p.example"] = ["127.0.0.1"]
        with serving(lambda nth, data: CLOSING) as partner:
            url = f"http://p.example:{partner.port}/"
            assert send(sender, get(0, url=url))[0].status == 200
            group = sender._groups[""]
            (slot,) = sender._plain.free
            slot.easy.setopt(curl.pycurl.RESOLVE, [f"-p.example:{partner.port}"])  # as if it had been forgotten
            report = send(sender, get(0, token=2, url=url))[0]
            assert group.given
        assert (report.code, report.sent) == ("dns_failed", False)
    finally:
        sender.close()
