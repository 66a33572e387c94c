"""Resends, what is missing, and corrections, on a real installation with a real partner's server behind it."""

import fcntl
import http.client
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from support.installation import until
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess, of_event
from waypost.engines.segments.feed import SegmentFeed

pytestmark = pytest.mark.system

COUNT = 2_000
CATALOG = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  shop:
    advertiser: acme
    url: http://127.0.0.1:9000/land?cid={click_id}
    goals:
      sale: {payout: 10%}
partners:
  books:
    delivery: {corrections: true, retry: [200ms, 500ms, 1s, 2s, 5s]}
    postbacks:
      - name: sale
        on: {goal: sale, status: approved}
        get: http://127.0.0.1:PORT/books?txn={txn_id}&sum={sum}&payout={payout}&was={corrects}&why={reason}
  plain:
    postbacks:
      - name: seen
        for: all
        on: {goal: sale, status: approved}
        get: http://127.0.0.1:PORT/plain?txn={txn_id}&sum={sum}
links:
  demo: {partner: books, offer: shop}
"""
ONE_RULE = CATALOG[: CATALOG.index("  plain:")] + CATALOG[CATALOG.index("links:") :]


class Caller:
    """The advertiser's server: calls over one connection that stays open."""

    def __init__(self, house: WaypostProcess) -> None:
        self._click = house.click("demo", sub1="abc")
        self._connection = http.client.HTTPConnection("127.0.0.1", house.port)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sale(self, txn_id: str, sum: str, **more: str) -> None:
        query = {"click_id": self._click, "goal": "sale", "txn_id": txn_id, "sum": sum, "token": "s3cret", **more}
        self._connection.request("GET", "/postback?" + urlencode(query))
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def by_id(received: list[Received]) -> dict[str, list[Received]]:
    found: dict[str, list[Received]] = defaultdict(list)
    for one in received:
        found[one.id].append(one)
    return found


def said(request: Received) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query, True).items()}


def job_of(house: WaypostProcess, name: str) -> dict[str, Any]:
    return dict(next(row for row in house.answers("resend", "--list") if row["id"] == name))


def delivered(house: WaypostProcess, name: str) -> int:
    return int(job_of(house, name)["delivered"])


def broken_off(house: WaypostProcess) -> str:
    """A command that is killed between two of its blocks; answers its job."""
    journal = SegmentFeed(house.data / "journal", "operator")
    before = journal.head().end
    command = subprocess.Popen(
        house.command("resend", "--data", str(house.data), "--yes", "--rate", "max"), stdout=subprocess.DEVNULL
    )
    until(lambda: journal.head().end > before + 1, "a first block is written")
    lock = os.open(house.data / "journal" / "operator" / "writer.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as soon as the command lets go of it: it waits for its next block now
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    assert journal.head().end < before + COUNT, "it was not done"
    os.close(lock)
    journal.close()
    return str(house.answers("resend", "--list")[-1]["id"])


def test_two_thousand_are_sent_again_once_whatever_is_killed(tmp_path: Path, sink: Sink) -> None:
    with WaypostProcess(tmp_path, ONE_RULE.replace("PORT", str(sink.port))) as house, Caller(house) as caller:
        for nth in range(COUNT):
            caller.sale(f"t{nth}", "10")
        until(lambda: len(sink.received) >= COUNT, "all were delivered")
        first = by_id(sink.received)
        assert len(first) == COUNT and not any(one.is_repeat for one in sink.received)
        until(
            lambda: house.answers("resend", "--status", "delivered")["postbacks"] == COUNT, "their outcomes are known"
        )
        sink.behave = lambda request: Answer(after_s=0.05)
        job = broken_off(house)
        state = job_of(house, job)
        assert state["state"] == "adding"
        house.kill_and_await("pipeline")
        house.kill_and_await("courier-0")
        assert house.answers("resend", "--resume", job)["steps"] == COUNT - state["added"] - state["written"]
        until(lambda: len(sink.received) > COUNT + 500, "some are sent")
        house.kill_and_await("courier-0")
        house.kill_and_await("pipeline")
        sink.behave = lambda request: Answer()
        until(lambda: delivered(house, job) == COUNT, "all are delivered again")
        row = job_of(house, job)
        assert (row["state"], row["added"], row["failed"], row["waiting"], row["refused"]) == ("added", COUNT, 0, 0, {})
        received = by_id(sink.received)
        assert received.keys() == first.keys()
        unknown = 0
        for requests in received.values():
            once, *again = requests
            assert not once.is_repeat and again and all(one.is_repeat for one in again)
            for one in again:
                reason = one.headers["waypost-repeat-reason"]
                assert one.target.replace(f"why={reason}", "why=first") == once.target
                assert one.headers["waypost-first-attempt"] == once.headers["waypost-first-attempt"]
                assert one.attempt >= 2 and (reason == "resend") == (one.attempt == 2)
                assert reason in ("resend", "unknown-after-crash")
            unknown += sum(one.attempt > 2 for one in again)
            assert len({one.attempt for one in again}) == len(again), "no attempt came twice"
        assert unknown <= 2 * 64, "only what was in flight when the courier died was tried a third time"
        assert house.answers("resend", "--resume", job)["steps"] == 0
        house.audit()


def test_a_rule_that_was_added_is_told_once_of_what_was_before(tmp_path: Path, sink: Sink) -> None:
    with WaypostProcess(tmp_path, ONE_RULE.replace("PORT", str(sink.port))) as house, Caller(house) as caller:
        for nth in range(20):
            caller.sale(f"t{nth}", "10", status="approved" if nth else "declined")
        until(lambda: len(sink.received) == 19, "what was approved is told")
        assert house.answers("resend", "--missing")["postbacks"] == 0
        (tmp_path / "new.yaml").write_text(CATALOG.replace("PORT", str(sink.port)))
        assert house.waypost("catalog", "apply", "--data", str(house.data), str(tmp_path / "new.yaml")).returncode == 0
        caller.sale("later", "10")
        until(lambda: len(sink.received) == 21, "the new rule tells of what comes from now on")
        shown = house.answers("resend", "--missing", "--yes", "--rate", "max")
        assert shown["by_rule"] == [{"partner": "plain", "rule": "seen", "postbacks": 19}] and shown["job"]
        until(lambda: len(sink.received) == 40, "what was missing is told")
        told = [one for one in sink.received if one.target.startswith("/plain")]
        assert sorted(said(one)["txn"] for one in told) == sorted(["later", *(f"t{nth}" for nth in range(1, 20))])
        assert not any(one.is_repeat for one in sink.received) and len(by_id(sink.received)) == 40
        assert house.answers("resend", "--missing", "--yes")["postbacks"] == 0, "nothing is missing any more"
        until(lambda: delivered(house, shown["job"]) == 19, "the job is done")
        late = next(one for one in told if said(one)["txn"] == "t5")
        ids = [event["id"] for event in of_event(house.trace(late.id), "postback")]
        assert ids == [late.id[:-1] + "1", late.id], "the story of either tells of both"
        house.audit()


def test_a_corrected_sum_reaches_who_takes_corrections_and_nobody_else(tmp_path: Path, sink: Sink) -> None:
    with WaypostProcess(tmp_path, CATALOG.replace("PORT", str(sink.port))) as house, Caller(house) as caller:
        caller.sale("T", "100")
        until(lambda: len(sink.received) == 2, "both partners are told")
        caller.sale("T", "70")
        corrected = until(lambda: [one for one in sink.received if "waypost-corrects" in one.headers], "a correction")[
            0
        ]
        original = next(
            one for one in sink.received if said(one)["sum"] == "100.00" and one.target.startswith("/books")
        )
        assert said(corrected) == {
            "txn": "T", "sum": "70.00", "payout": "7.00", "was": original.id, "why": "correction",
        }  # fmt: skip
        assert corrected.headers["waypost-corrects"] == original.id != corrected.id
        assert (corrected.attempt, corrected.is_repeat) == (1, False)
        caller.sale("U", "1")  # whatever the update had caused beside would have come before
        until(lambda: len(sink.received) == 5, "another sale is told")
        assert [said(one)["sum"] for one in sink.received if one.target.startswith("/plain")] == ["100.00", "1.00"]
        story = house.trace(corrected.id)
        stopped = [rule["stopped_by"] for event in of_event(story, "decision") for rule in event["rules"]]
        assert any("takes no corrections" in text for text in stopped), stopped
        house.audit()


def test_a_job_is_cancelled_and_what_it_has_not_sent_is_dropped(tmp_path: Path, sink: Sink) -> None:
    with WaypostProcess(tmp_path, ONE_RULE.replace("PORT", str(sink.port))) as house, Caller(house) as caller:
        for nth in range(30):
            caller.sale(f"t{nth}", "10")
        until(lambda: house.answers("resend", "--status", "delivered")["postbacks"] == 30, "all were delivered")
        job = house.answers("resend", "--yes", "--rate", "2/m")["job"]
        until(lambda: job_of(house, job)["added"] == 30, "the pipeline has put them into the outbox")
        until(lambda: len(sink.received) == 31, "the first of them goes out at once")
        assert house.answers("resend")["left_out"] == {"queued": 29}, "they stand in their lane now"
        assert house.answers("resend", "--cancel", job, "--why", "a mistake")["is_taken"]
        row = until(lambda: (found := job_of(house, job))["dropped"] == 29 and found, "what was left is dropped")
        assert (row["state"], row["why"], row["delivered"], row["waiting"]) == ("cancelled", "a mistake", 1, 0)
        assert len(sink.received) == 31
        shown = house.waypost("resend", "--data", str(house.data), "--list").stdout
        assert f"{job}  cancelled" in shown and "because: a mistake" in shown
        asked = house.waypost("resend", "--data", str(house.data), "--status", "delivered")
        assert "nothing was sent: add --yes" in asked.stdout and asked.returncode == 0
        for words, said_so in (
            (("--cancel", "j0"), "[unknown_job]"),
            (("--resume", "j0"), "[unknown_job]"),
            (("--partner", "nobody"), "[unknown_lane]"),
            (("--rate", "many"), "is no rate"),
            (("--status", "approved"), "failed, delivered or any"),
            (("--missing", "--id", "p1.1"), "is no id of a conversion"),
        ):
            wrong = house.waypost("resend", "--data", str(house.data), *words)
            assert wrong.returncode and said_so in wrong.stderr.replace("\n", " "), (words, wrong.stderr)
        house.audit()
