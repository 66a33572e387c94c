"""An operator's words on real processes: 20,000 dead letters are driven again, others dropped, and the courier is
killed with SIGKILL in the middle of both. Nothing is lost, nothing goes out twice unmarked, other lanes go on.
"""

import http.client
import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.installation import fetch, until
from support.sink import Answer, Received, Sink
from support.waypost_process import WaypostProcess, of_event
from waypost.engines.sqlite.lanes import SqliteLanes

pytestmark = pytest.mark.system

DEAD_LETTERS = 20_000
DROPPED = 6_000
IN_A_BODY = 1_000
CATALOG = """
waypost: 1
advertisers:
  acme: {{token: s3cret}}
offers:
  vpn:
    advertiser: acme
    url: "http://127.0.0.1:9000/land?cid={{click_id}}"
    goals: {{install: {{payout: 1.20 USD}}}}
partners:
  geozo:
    postbacks:
      - {{on: {{goal: install}}, get: "http://127.0.0.1:{port}/geozo?txn={{txn_id}}", give_up: {{status: 404}}}}
  other:
    postbacks: [{{on: {{goal: install}}, get: "http://127.0.0.1:{port}/other?txn={{txn_id}}"}}]
links:
  demo: {{partner: geozo, offer: vpn}}
  beside: {{partner: other, offer: vpn}}
"""


class House(WaypostProcess):
    """With two links, and what its shard of lanes says."""

    def call_many(self, link: str, prefix: str, count: int) -> None:
        """So many conversions, each of its own transaction."""
        click = self.click(link)
        for start in range(0, count, IN_A_BODY):
            lines = [
                {"click_id": click, "goal": "install", "txn_id": f"{prefix}-{nth}", "token": "s3cret"}
                for nth in range(start, min(count, start + IN_A_BODY))
            ]
            answer = _post(self.port, "\n".join(map(json.dumps, lines)))
            assert answer == len(lines)

    def lane(self, name: str) -> dict[str, Any]:
        found = [row for row in self.answers("lanes", name)["lanes"] if row["lane"] == name]
        return dict(found[0])

    def work_done(self) -> int:
        """How far bulk work has come; -1: there is none."""
        with closing(self.shard()) as shard:
            chores = shard.chores()
        return chores[0].done if chores else -1

    def standing(self) -> int:
        with closing(self.shard()) as shard:
            return sum(depth.queued + depth.in_flight + depth.dead + depth.held for depth in shard.depths())

    def dead(self) -> int:
        with closing(self.shard()) as shard:
            return sum(depth.dead for depth in shard.depths())

    def shard(self) -> SqliteLanes:
        (file,) = (self.data / "lanes").glob("shard-0*.db")
        return SqliteLanes(file, shard=0, shards=1, read_only=True)


def _post(port: int, body: str) -> int:
    """Sends calls in bulk; answers how many were accepted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/postbacks", body.encode(), {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(json.loads(line)["status"] == 1 for line in answer.splitlines())


def refuses(request: Received) -> Answer:
    return Answer(404 if request.target.startswith("/geozo") else 200)


def test_bulk_work_over_kills(tmp_path: Path) -> None:
    with Sink() as sink, House(tmp_path, CATALOG.format(port=sink.port)) as house:
        sink.behave = refuses
        house.call_many("demo", "a", DEAD_LETTERS)
        until(lambda: house.dead() == DEAD_LETTERS, "all are dead letters", 180)
        assert house.lane("geozo")["dead"] == DEAD_LETTERS

        sink.behave = lambda request: Answer()
        first = len(sink.received)
        preview = house.answers("lanes", "retry", "geozo", exit_code=1)
        assert (preview["items"], preview["asked"]) == (DEAD_LETTERS, False)
        asked = house.answers("lanes", "retry", "geozo", "--why", "repaired", "--by", "ann", "--yes")
        assert (asked["items"], asked["asked"]) == (DEAD_LETTERS, True)
        until(lambda: house.work_done() >= DEAD_LETTERS // 5, "a part is done")
        house.kill_and_await("courier-0")
        assert house.work_done() >= 0, "it was killed too late to show anything"
        house.call_many("beside", "b", 200)
        until(lambda: sum(one.target.startswith("/other") for one in sink.received) == 200, "the other lane goes on")
        until(lambda: house.standing() == 0, "all are delivered", 180)
        again = Counter(one.id for one in sink.received[first:] if one.target.startswith("/geozo"))
        assert len(again) == DEAD_LETTERS
        assert all(one.is_repeat for one in sink.received[first:] if one.target.startswith("/geozo"))
        assert {one.attempt for one in sink.received[:first]} == {1}
        counts = house.audit()["counts"]
        assert (counts["postbacks"], counts["delivered"]) == (DEAD_LETTERS + 200, DEAD_LETTERS + 200)

        _drop(house, sink)


def _drop(house: House, sink: Sink) -> None:
    sink.behave = refuses
    house.call_many("demo", "c", DROPPED)
    until(lambda: house.dead() == DROPPED, "all are dead letters", 120)
    dead = house.answers("lanes", "dead", "geozo", "--limit", "3")
    assert (len(dead["postbacks"]), dead["more"]) == (3, DROPPED - 3)
    sink.behave = lambda request: Answer()
    first = len(sink.received)
    house.answers("lanes", "drop", "geozo", "--why", "their test", "--by", "ann", "--yes")
    until(lambda: house.work_done() >= DROPPED // 6 or house.dead() < DROPPED, "a part is done")
    house.kill_and_await("courier-0")
    house.call_many("beside", "d", 100)
    until(lambda: house.standing() == 0, "all are dropped")
    until(lambda: len(sink.received) >= first + 100, "the other lane goes on")
    assert all(one.target.startswith("/other") for one in sink.received[first:])
    counts = house.audit()["counts"]
    assert (counts["dropped"], counts["delivered"], counts["dead"]) == (DROPPED, DEAD_LETTERS + 300, 0)
    story = house.trace(dead["postbacks"][0]["id"])
    (handled,) = of_event(story, "handled")
    assert (handled["result"], handled["by"], handled["why"]) == ("dropped", "ann", "their test")


def test_lanes_while_couriers_are_down(tmp_path: Path) -> None:
    """A word said then is obeyed when one comes up, and a 410 waits for a human."""
    with Sink() as sink:
        house = House(tmp_path, CATALOG.format(port=sink.port))
        with house:
            house.call_many("beside", "a", 5)
            until(lambda: len(sink.received) == 5 and house.standing() == 0, "all are delivered")
            live = house.answers("lanes")
            assert live["is_live"]
        house.answers("lanes", "pause", "other", "--why", "they move", "--by", "ann", "--yes")
        report = house.answers("lanes")
        assert not report["is_live"]
        with house:
            until(lambda: house.lane("other")["state"] == "paused", "the word is obeyed")
            row = house.lane("other")
            assert (row["why"], row["by"]) == ("they move", "ann")
            house.call_many("beside", "b", 5)
            until(lambda: house.lane("other")["live"] == 5, "it keeps everything")
            assert len(sink.received) == 5
            sink.behave = lambda request: Answer(410)
            house.call_many("demo", "c", 1)
            until(lambda: house.lane("geozo")["state"] == "paused", "a 410 pauses the lane")
            row = house.lane("geozo")
            assert (row["by"], row["why"], row["dead"]) == ("courier", "127.0.0.1 answered 410", 1)
            until(lambda: "127.0.0.1 answered 410" in fetch(house.console_port, "/").text, "the console shows it")
            sink.behave = lambda request: Answer()
            house.answers("lanes", "retry", "--all", "--yes")
            house.answers("lanes", "resume", "geozo", "other", "--yes")
            until(lambda: house.standing() == 0 and len(sink.received) == 12, "all is sent")
            assert house.audit()["counts"]["delivered"] == 11
