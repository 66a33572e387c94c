"""Nothing is lost and nothing is doubled: load through real sockets while every role is killed, one after another and
all at once. What must come of it is computed by `support/expected.py`, which knows nothing of Waypost's code.
"""

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from support.expected import CAP, Visit, World, catalog, worlds
from support.installation import until
from support.load import Load, visits_of
from support.sink import Answer, Received, Sink
from support.waypost_process import ROLES, WaypostProcess, of_event

pytestmark = pytest.mark.system

SEED = int(os.environ.get("WAYPOST_TEST_SEED", "2026"))
VISITS = 1800
RATE = 70.0  # visits a second: the load lasts longer than the kills do
RETRY = "[200ms, 200ms, 300ms, 500ms, 1s, 1s, 1s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s, 2s]"
# The doors do not learn of used-up caps: all clicks are redirected, and it is the pipeline that keeps the cap exactly.
REFUSES_LATE = "[pipeline]\nboard_lifetime_ms = 1\n"
SETTLED_WITHIN_S = 60.0


class Partners:
    """How the partners' servers behave: `slow` answers late, now and then too late; `flaky` fails for some
    postbacks twice, and for a while for all."""

    def __init__(self) -> None:
        self.is_flaky_down = False

    def __call__(self, request: Received) -> Answer:
        dice = int.from_bytes(hashlib.sha256(request.id.encode()).digest()[:4])
        if request.target.startswith("/slow/"):
            return Answer(200, 3.0 if dice % 97 == 0 and request.attempt == 1 else 0.05 + dice % 300 / 1000)
        if request.target.startswith("/flaky/"):
            if self.is_flaky_down:
                return Answer(503)
            if dice % 5 == 0 and request.attempt <= 2:
                return Answer(0 if dice % 2 else 500)
        return Answer()


class Done(NamedTuple):
    """What stores and partner say after the last drain."""

    load: Load
    received: list[Received]
    decisions: dict[str, dict[str, Any]]  # by receipt
    postbacks: dict[str, dict[str, Any]]  # by id
    outcomes: list[dict[str, Any]]
    conversions: list[dict[str, Any]]
    counts: dict[str, Any]  # of the last audit
    house: WaypostProcess


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """The whole drama; the tests of this module look at what came of it."""
    partners = Partners()
    with Sink() as sink:
        sink.behave = partners
        house = WaypostProcess(tmp_path_factory.mktemp("kill"), catalog(sink.port, RETRY), REFUSES_LATE)
        with house, Load(house.port, visits_of(SEED, VISITS), rate=RATE) as load:
            _kill_each_role(house, load, partners)
            _kill_all(house, load)
            load.finish(deadline_s=120)
            until(lambda: _is_settled(house), "all postbacks are delivered", SETTLED_WITHIN_S)
            house.audit()
            assert house.stop() == 0, house.said()
            counts = house.audit()["counts"]
            yield _collected(house, load, sink, counts)


def _kill_each_role(house: WaypostProcess, load: Load, partners: Partners) -> None:
    for nth, role in enumerate(ROLES):
        until(lambda nth=nth: load.reached(60 * (nth + 1)), f"load before {role} is killed")
        partners.is_flaky_down = role in ("pipeline", "courier-0")
        house.kill_and_await(role)
        if role in ("pipeline", "archivist"):
            house.audit()  # it holds while all is in motion
    assert not load.connect_failures, "a connection was refused though the supervisor lived"


def _kill_all(house: WaypostProcess, load: Load) -> None:
    seen = load.done
    until(lambda: load.reached(seen + 60), "load before all is killed")
    house.kill_everything()
    house.start()


def _is_settled(house: WaypostProcess) -> bool:
    counts = house.audit()["counts"]
    return not any(counts[name] for name in ("parked", "unread", "queued", "in_flight", "not_taken"))


def _collected(house: WaypostProcess, load: Load, sink: Sink, counts: dict[str, Any]) -> Done:
    sources = house.sources()
    try:
        query = sources.archive.query
        decisions = query("SELECT * FROM decisions")
        postbacks = query("SELECT * FROM postbacks")
        outcomes = query("SELECT at_ms, reason, url, status, unnest(outcomes) AS o FROM attempts ORDER BY at_ms")
    finally:
        sources.close()
    last = {row["conversion"]: row for row in sorted(decisions, key=lambda row: row["position"]) if row["conversion"]}
    assert len({row["receipt"] for row in decisions}) == len(decisions), "a call has two verdicts"
    assert len({row["id"] for row in postbacks}) == len(postbacks)
    return Done(
        load=load,
        received=list(sink.received),
        decisions={row["receipt"]: row for row in decisions},
        postbacks={row["id"]: row for row in postbacks},
        outcomes=outcomes,
        conversions=list(last.values()),
        counts=counts,
        house=house,
    )


def _first_calls(received: list[Received]) -> dict[str, Received]:
    """By postback id."""
    firsts: dict[str, Received] = {}
    for request in received:
        firsts.setdefault(request.id, request)
    return firsts


def _matched(done: Done) -> list[tuple[Visit, World]]:
    """Each visit with the world that Waypost made true. Fails with what is in none."""
    targets: dict[str, list[str]] = defaultdict(list)
    for request in _first_calls(done.received).values():
        targets[parse_qs(urlsplit(request.target).query)["cid"][0]].append(request.target)
    matched = []
    for visit in done.load.visits:
        receipts = [receipt for call in visit.calls for receipt in call.tries if receipt]
        missing = [receipt for receipt in receipts if receipt not in done.decisions]
        assert not missing, f"no verdict on {missing} of {visit}"
        decided = {receipt: done.decisions[receipt] for receipt in receipts}
        actual = {receipt: (row["verdict"], row["code"]) for receipt, row in decided.items()}
        possible = list(worlds(visit))
        sent = sorted(targets.pop(visit.sub1, []))
        found = next((w for w in possible if w.verdicts == actual and sorted(w.targets) == sent), None)
        assert found is not None, f"{visit}\ngot {actual}, sent {sent}\nright would be one of {possible}"
        matched.append((visit, found))
    assert not targets, f"sent without a cause: {targets}"
    return matched


def test_every_request_was_answered_as_it_must_be(done: Done) -> None:
    load = done.load
    assert load.wrong == []
    assert load.done == len(load.visits)
    assert load.unanswered <= 16 * 4, "more died than the connections of a killed door, twice, and of all"


def test_every_call_has_its_verdict_and_every_approval_its_postback(done: Done) -> None:
    for visit, world in _matched(done):
        assert world.verdicts, visit


def test_what_is_owed_is_what_the_driver_computed(done: Done) -> None:
    expected: Counter[str] = Counter()
    for _, world in _matched(done):
        for currency, amount in world.owed.items():
            expected[currency] += amount  # type: ignore[assignment]
    actual: Counter[str] = Counter()
    for row in done.conversions:
        if row["status"] == "approved":
            actual[row["payout_currency"]] += Decimal(row["payout"])  # type: ignore[assignment]
    assert actual == expected
    assert set(expected) == {"USD", "JPY", "KWD"}


def test_the_cap_is_exact(done: Done) -> None:
    matched = _matched(done)
    wanted = sum(1 for visit, _ in matched if visit.offer == "capped")
    assert wanted > CAP, "the load does not reach the cap"
    assert sum(world.admitted for _, world in matched) == CAP


def test_nothing_is_sent_twice_unless_marked(done: Done) -> None:
    for id, requests in itertools.groupby(sorted(done.received, key=lambda r: (r.id, r.at_s)), key=lambda r: r.id):
        sends = list(requests)
        assert sum(1 for send in sends if not send.is_repeat) <= 1, (id, sends)
        assert all(send.is_repeat for send in sends[1:]), (id, sends)
        assert all(send.is_repeat == (send.attempt > 1) for send in sends), (id, sends)
        attempts = [send.attempt for send in sends]
        assert attempts == sorted(set(attempts)), f"an attempt number came twice: {id} {attempts}"
        assert len({send.target for send in sends}) == 1, (id, sends)
        assert id in done.postbacks


def test_marked_first_sends_are_those_whose_outcome_a_kill_took(done: Done) -> None:
    unknown = {row["o"]["id"] for row in done.outcomes if row["o"]["result"] == "unknown"}
    marked = {id for id, first in _first_calls(done.received).items() if first.is_repeat}
    assert marked <= unknown
    repeats = Counter(r.headers["waypost-repeat-reason"] for r in done.received if r.is_repeat)
    assert repeats["unknown-after-crash"] <= len(unknown)
    total = len(done.postbacks)
    lines = [
        f"visits {len(done.load.visits)}, clicks {done.counts['clicks']}, calls {done.counts['accepted']}, "
        f"unanswered {done.load.unanswered}, unavailable {done.load.unavailable}",
        f"postbacks {total}, requests at the partners {len(done.received)}",
        f"kills: each of {len(ROLES)} roles, then all at once; sends of unknown outcome {len(unknown)}",
        f"repeats because of a kill: {repeats['unknown-after-crash']} "
        f"= {1000 * repeats['unknown-after-crash'] / total:.1f} per 1,000 postbacks",
        f"repeats because a partner failed: {repeats['retry']} = {1000 * repeats['retry'] / total:.1f} per 1,000",
        f"first sends that arrived marked as repeats: {len(marked)}",
    ]
    print("\n" + "\n".join(lines))


def test_every_postback_is_delivered_and_the_audit_says_so(done: Done) -> None:
    delivered = {row["o"]["id"] for row in done.outcomes if row["o"]["result"] == "delivered"}
    assert delivered == set(done.postbacks) == set(_first_calls(done.received))
    assert done.counts["delivered"] == done.counts["postbacks"] == len(done.postbacks)
    assert done.counts["dead"] == 0


def test_traces_tell_what_happened(done: Done) -> None:
    """A call that was repeated after a kill, and one whose partner failed at first: from its receipt to its URL."""
    by_reason = {
        r.headers.get("waypost-repeat-reason", "first"): r for r in done.received if r.target.startswith("/flaky/")
    }
    for request in by_reason.values():
        story = done.house.trace(request.id)
        attempts = [event for event in of_event(story, "attempt") if event["postback"] == request.id]
        assert attempts[-1]["result"] == "delivered"
        assert [event["attempt"] for event in attempts] == list(range(1, len(attempts) + 1))
        assert attempts[-1]["url"].endswith(request.target)
        assert of_event(story, "click") and of_event(story, "decision") and of_event(story, "call")


def test_no_process_is_left_over(done: Done) -> None:
    assert done.house.processes() == []
    assert done.house.ended()
