"""Calls in bulk through real sockets, as JSON lines and by gRPC, while doors are killed and replaced: what was
acknowledged is there, and what was sent again under its idempotency key made no second conversion.
"""

import http.client
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.grpc_client import Stream, channel_to, conversions
from support.installation import fetch, until
from support.waypost_process import WaypostProcess
from waypost.runtime.sockets import free_port

pytestmark = pytest.mark.system

CATALOG = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn:
    advertiser: acme
    url: "http://127.0.0.1:9000/land?cid={click_id}"
    goals: {install: {payout: 1.20 USD}}
partners:
  geozo: {}
links:
  demo: {partner: geozo, offer: vpn}
"""
BATCH = 20
BATCHES = 150


class House(WaypostProcess):
    """With a gRPC port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CATALOG)
        self.grpc_port = free_port("127.0.0.1", 0)

    def run_words(self) -> list[str]:
        return [*super().run_words(), "--grpc-port", str(self.grpc_port)]


class Sender:
    """Sends batches of calls one after the other, each until it is acknowledged; `acknowledged` is receipt by key."""

    def __init__(self, house: House, name: str, clicks: list[str]) -> None:
        self.house = house
        self.name = name
        self.acknowledged: dict[str, str] = {}
        self.broken = 0  # how often a connection ended with a batch unacknowledged
        self.failure: BaseException | None = None
        self._batches = [[self._call(clicks, nth * BATCH + item) for item in range(BATCH)] for nth in range(BATCHES)]
        self._thread = threading.Thread(target=self._run)

    def _call(self, clicks: list[str], nth: int) -> dict[str, Any]:
        key = f"{self.name}-{nth}"
        return {"click_id": clicks[nth % len(clicks)], "txn_id": key, "idempotency_key": key, "token": "s3cret"}

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive() and self.failure is None, self.failure

    def _run(self) -> None:
        try:
            left = list(self._batches)
            while left:
                try:
                    self.send(left)
                except (OSError, http.client.HTTPException, grpc.RpcError, StopIteration):
                    self.broken += 1
                    threading.Event().wait(0.05)
        except BaseException as error:
            self.failure = error

    def send(self, left: list[list[dict[str, Any]]]) -> None:
        """Sends what is left by one connection; what is acknowledged is taken off."""
        raise NotImplementedError

    def note(self, batch: list[dict[str, Any]], receipts: list[str]) -> None:
        assert len(receipts) == len(batch) and all(receipts)
        for call, receipt in zip(batch, receipts, strict=True):
            assert self.acknowledged.setdefault(call["idempotency_key"], receipt) == receipt


class LinesSender(Sender):
    def send(self, left: list[list[dict[str, Any]]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.house.port, timeout=20)
        try:
            while left:
                connection.request("POST", "/postbacks", "\n".join(map(json.dumps, left[0])))
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200, text
                said = [json.loads(line) for line in text.splitlines()]
                self.note(left[0], [one["receipt"] for one in said])
                del left[0]
                threading.Event().wait(0.02)
        finally:
            connection.close()


class StreamSender(Sender):
    def send(self, left: list[list[dict[str, Any]]]) -> None:
        with channel_to(self.house.grpc_port, **{"grpc.use_local_subchannel_pool": 1}) as channel:
            stream = Stream(channel, {})
            try:
                for batch in left[:3]:  # some are on their way at any time
                    stream.send(conversions(*batch))
                while left:
                    if len(left) > 3:
                        stream.send(conversions(*left[3]))
                    self.note(left[0], [answer.receipt for answer in stream.read()])
                    del left[0]
                    threading.Event().wait(0.02)
            finally:
                stream.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with House(tmp_path_factory.mktemp("many")) as house:
        yield house


@pytest.fixture(scope="module")
def senders(house: House) -> list[Sender]:
    """Both have sent all; every door was killed meanwhile, and then all were replaced."""
    clicks = [house.click("demo", sub1=str(nth)) for nth in range(40)]
    senders: list[Sender] = [
        LinesSender(house, "lines", clicks),
        StreamSender(house, "one", clicks),
        StreamSender(house, "two", clicks),
    ]
    for sender in senders:
        sender.start()
    for nth, door in enumerate(("door-0", "door-1", "door-0", "door-1")):
        until(lambda nth=nth: all(len(one.acknowledged) > 300 * (nth + 1) for one in senders), "load")
        house.kill_and_await(door)
    done = house.waypost("restart", "door", "--data", str(house.data))
    assert done.returncode == 0, done
    for sender in senders:
        sender.finish()
    return senders


def test_everything_acknowledged_is_there_and_nothing_twice(house: House, senders: list[Sender]) -> None:
    acknowledged = {key: receipt for sender in senders for key, receipt in sender.acknowledged.items()}
    assert len(acknowledged) == len(set(acknowledged.values())) == len(senders) * BATCHES * BATCH
    assert all(sender.broken for sender in senders), "no door was killed under this sender"
    until(lambda: settled(house), "all is judged and archived")
    made: Counter[str] = Counter()
    repeats = 0
    for row in decisions(house):
        made[row["receipt"]] += row["verdict"] == "new"
        repeats += row["code"] == "repeated_key"
        assert row["verdict"] == "new" or row["code"] == "repeated_key", row
    assert {receipt: made[receipt] for receipt in acknowledged.values()} == dict.fromkeys(acknowledged.values(), 1)
    assert sum(made.values()) == len(acknowledged)


def test_sent_again_by_another_way_it_makes_no_second_conversion(house: House, senders: list[Sender]) -> None:
    until(lambda: settled(house), "all is judged and archived")
    before = house.audit()["counts"]
    click = house.click("demo", sub1="again")
    again = {key: receipt for sender in senders for key, receipt in list(sender.acknowledged.items())[:20]}
    for key, receipt in again.items():
        parameters = {"token": "s3cret", "click_id": click, "txn_id": f"other-{key}", "idempotency_key": key}
        assert fetch(house.port, "/postback", parameters).json["receipt"] == receipt
    until(lambda: house.audit()["counts"]["accepted"] == before["accepted"] + len(again) and settled(house), "judged")
    after = house.audit()["counts"]
    assert after["conversions"] == before["conversions"]
    assert after["verdicts"]["duplicate"] == before["verdicts"]["duplicate"] + len(again)


def settled(house: House) -> bool:
    report = house.audit()
    return not any(report["counts"][name] for name in ("parked", "unread")) and not any(report["not_archived"].values())


def decisions(house: House) -> list[dict[str, Any]]:
    sources = house.sources()
    try:
        return sources.archive.query("SELECT receipt, verdict, code FROM decisions")
    finally:
        sources.close()
