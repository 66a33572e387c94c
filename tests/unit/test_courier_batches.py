"""Many postbacks in one request: when it goes out, what its answer means for each, and what is left after a crash."""

import json
from pathlib import Path

import pytest

from support.courier_world import Die, World, hangs, settle
from support.rules import rule
from support.sender import FakeSender, answered
from waypost.catalog.model import Batch
from waypost.courier.render import batch_id
from waypost.errors import WaypostError
from waypost.model.frames import PostbackOut, SendResult
from waypost.ports.sender import SendRequest

ITEM = '{{"id":"{postback_id}","sub":"{sub1}","n":"{attempt}"}}'
JSON_BODY = {"method": "POST", "url": "http://partner.example/pb", "headers": {"Content-Type": "application/json"}}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.rules[1] = rule(1, batch=Batch(3, 5_000, ITEM), **JSON_BODY)
    return world


def subs(request: SendRequest) -> list[str]:
    return [item["sub"] for item in json.loads(request.body)]


def test_as_many_as_the_rule_wants_go_out_at_once_and_the_rest_by_age(world: World) -> None:
    world.put(7, batched=True)
    courier, sender = world.courier()
    settle(courier)
    assert [subs(one) for one in sender.sent] == [["0", "1", "2"], ["3", "4", "5"]]
    assert world.depth() == (1, 0, 0)
    world.clock.advance(4_999)
    settle(courier)
    assert len(sender.sent) == 2
    world.clock.advance(1)
    settle(courier)
    assert subs(sender.sent[2]) == ["6"] and world.depth() == (0, 0, 0)
    headers = dict(sender.sent[0].headers)
    assert headers["Waypost-Batch"] == "3" and headers["Waypost-Id"] == batch_id(["p0", "p1", "p2"])
    assert headers["Content-Type"] == "application/json" and "Waypost-Repeat" not in headers
    assert [len(one.outcomes) for one in world.attempts()] == [3, 3, 1]
    assert world.stats.values["courier_delivered"] == 7 and world.stats.values["courier_attempts"] == 3


def test_others_of_the_lane_do_not_wait_for_a_batch(world: World) -> None:
    world.put(2, batched=True)
    world.rules[2] = rule(1, url="http://partner.example/plain")
    world.put(1, lane=2)
    courier, sender = world.courier()
    settle(courier)
    assert [one.url for one in sender.sent] == ["http://partner.example/plain"]
    assert world.depth() == (2, 0, 0)


def test_tests_and_real_ones_never_share_a_request(world: World) -> None:
    world.put(2, batched=True)
    world.put(2, batched=True, test=True)
    courier, sender = world.courier()
    world.clock.advance(6_000)
    settle(courier)
    assert sorted((subs(one), "Waypost-Test" in dict(one.headers)) for one in sender.sent) == [
        (["0", "1"], False), (["2", "3"], True),
    ]  # fmt: skip


def result_of(request: SendRequest, refused: set[str], *, status: str = "status") -> bytes:
    items = json.loads(request.body)
    return json.dumps(
        {"results": [{"ref": one["id"], status: "no" if one["sub"] in refused else "ok"} for one in reversed(items)]}
    ).encode()


def test_an_answer_by_id_leaves_only_what_was_refused_to_repeat(world: World) -> None:
    batch = Batch(3, 5_000, ITEM, results_path="results", id_field="ref", ok_field="status", ok_equals=("ok",))
    world.rules[1] = rule(1, batch=batch, **JSON_BODY)
    world.put(3, batched=True)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, body=result_of(one, {"1", "2"}))))
    settle(courier)
    (attempt,) = world.attempts()
    assert [(one.id, one.result, one.code) for one in attempt.outcomes] == [
        ("p0", SendResult.DELIVERED, ""),
        ("p1", SendResult.RETRY, "item_refused"),
        ("p2", SendResult.RETRY, "item_refused"),
    ]
    assert world.depth() == (2, 0, 0)
    sender.answer = lambda one: answered(one, body=result_of(one, {"2"}))
    world.clock.advance(1_000)
    settle(courier)
    assert subs(sender.sent[1]) == ["1", "2"]
    headers = dict(sender.sent[1].headers)
    assert (headers["Waypost-Attempt"], headers["Waypost-Repeat"], headers["Waypost-Batch"]) == ("2", "1", "2")
    assert headers["Waypost-Id"] != dict(sender.sent[0].headers)["Waypost-Id"]
    assert [item["n"] for item in json.loads(sender.sent[1].body)] == ["2", "2"]
    world.clock.advance(10_000)
    settle(courier)
    assert subs(sender.sent[2]) == ["2"] and world.depth() == (0, 0, 1)  # after its last try
    assert world.stats.values["courier_given_up"] == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"results":[{"ok":true},{"ok":false},{"ok":true}]}', ["", "item_refused", ""]),
        (b'{"results":[{"ok":true}]}', ["", "item_missing", "item_missing"]),
        (b'{"results":[{"ok":"never"},{"ok":1},{}]}', ["item_final", "", "item_refused"]),
        (b'{"results":{}}', ["answer_unreadable"] * 3),
        (b"<html>", ["answer_unreadable"] * 3),
    ],
)
def test_an_answer_by_order(world: World, body: bytes, expected: list[str]) -> None:
    ok = ("true", "1")
    batch = Batch(3, 5_000, ITEM, results_path="results", ok_field="ok", ok_equals=ok, give_up=("never",))
    world.rules[1] = rule(1, batch=batch, **JSON_BODY)
    world.put(3, batched=True)
    courier, _ = world.courier(FakeSender(lambda one: answered(one, body=body)))
    settle(courier)
    (attempt,) = world.attempts()
    assert [one.code for one in attempt.outcomes] == expected
    finals = expected.count("item_final")
    assert world.depth() == (len([code for code in expected if code]) - finals, 0, finals)


def test_a_failed_request_fails_all_of_it_and_is_repeated_whole(world: World) -> None:
    world.put(3, batched=True)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, status=503)))
    settle(courier)
    assert world.depth() == (3, 0, 0)
    sender.answer = answered
    world.clock.advance(1_000)
    settle(courier)
    assert [subs(one) for one in sender.sent] == [["0", "1", "2"]] * 2
    assert dict(sender.sent[1].headers)["Waypost-Id"] == dict(sender.sent[0].headers)["Waypost-Id"]
    assert world.depth() == (0, 0, 0)


def test_after_a_crash_exactly_the_items_of_unknown_outcome_are_repeated_marked(world: World) -> None:
    world.put(8, batched=True)
    courier, before = world.courier(FakeSender(lambda one: answered(one) if subs(one)[0] == "0" else None))
    settle(courier)
    assert [subs(one) for one in before.sent] == [["0", "1", "2"], ["3", "4", "5"]]
    assert world.depth() == (2, 3, 0)
    courier, sender = world.courier()
    settle(courier)
    assert [subs(one) for one in sender.sent] == [["3", "4", "5"]]  # 6 and 7 still gather
    headers = dict(sender.sent[0].headers)
    assert (headers["Waypost-Attempt"], headers["Waypost-Repeat-Reason"]) == ("2", "unknown-after-crash")
    world.clock.advance(5_000)
    settle(courier)
    assert subs(sender.sent[1]) == ["6", "7"] and "Waypost-Repeat" not in dict(sender.sent[1].headers)
    assert world.depth() == (0, 0, 0)


def test_a_crash_between_journal_and_lanes_repeats_nothing_that_was_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(3, 5_000, ITEM, results_path="results", id_field="ref", ok_field="status", ok_equals=("ok",))
    world.rules[1] = rule(1, batch=batch, **JSON_BODY)
    world.put(3, batched=True)
    courier, _ = world.courier(FakeSender(lambda one: answered(one, body=result_of(one, {"1"}))))
    courier.step()
    with monkeypatch.context() as patch:
        patch.setattr(courier._lanes, "apply", lambda batch: (_ for _ in ()).throw(Die()))
        with pytest.raises(Die):
            courier.step()
    assert world.depth() == (0, 3, 0)
    courier, sender = world.courier(FakeSender(lambda one: answered(one, body=result_of(one, set()))))
    settle(courier)
    assert sender.sent == []
    world.clock.advance(1_000)
    settle(courier)
    assert [subs(one) for one in sender.sent] == [["1"]] and world.depth() == (0, 0, 0)


def test_more_than_memory_holds_goes_out_in_what_memory_holds(tmp_path: Path) -> None:
    world = World(tmp_path, lane_memory_max=16)
    world.rules[1] = rule(1, batch=Batch(1_000, 5_000, ITEM), **JSON_BODY)
    world.put(50, batched=True)
    courier, sender = world.courier()
    settle(courier)
    world.clock.advance(5_000)
    settle(courier)
    assert [sub for one in sender.sent for sub in subs(one)] == [str(nth) for nth in range(50)]
    assert max(len(subs(one)) for one in sender.sent) <= 12
    assert world.depth() == (0, 0, 0)


def test_an_item_that_does_not_render_gives_its_batch_up(world: World) -> None:
    world.rules[1] = rule(1, batch=Batch(2, 5_000, "{sub1|nonsense}"), **JSON_BODY)
    world.put(2, batched=True)
    courier, sender = world.courier()
    settle(courier)
    world.clock.advance(5_000)
    settle(courier)
    assert sender.sent == [] and world.depth() == (0, 0, 2)
    assert {one.code for attempt in world.attempts() for one in attempt.outcomes} == {"render_failed"}


def test_lines_instead_of_an_array(world: World) -> None:
    batch = Batch(3, 5_000, "{sub1};{status}", head="start\n", tail="\nend", separator="\n")
    world.rules[1] = rule(1, **{**JSON_BODY, "headers": {"Content-Type": "text/plain"}}, body="x", batch=batch)
    world.put(3, batched=True)
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent[0].body == b"start\n0;\n1;\n2;\nend"


# --- delays ------------------------------------------------------------------------------------------


def test_a_delayed_postback_waits_on_disk_over_a_restart_and_is_a_first_attempt(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(1, due_ms=world.clock.now_ms() + 60_000)
    world.put(1)
    courier, sender = world.courier()
    settle(courier)
    assert len(sender.sent) == 1 and world.depth() == (1, 0, 0)
    (item,) = world.lanes().items()
    assert (item.id, item.due_ms, item.attempt) == ("p0", world.clock.now_ms() + 60_000, 0)
    world.clock.advance(59_999)
    courier, sender = world.courier()
    settle(courier)
    assert sender.sent == []
    world.clock.advance(1)
    settle(courier)
    headers = dict(sender.sent[0].headers)
    assert (headers["Waypost-Id"], headers["Waypost-Attempt"]) == ("p0", "1") and "Waypost-Repeat" not in headers
    assert world.depth() == (0, 0, 0)


def test_a_delay_that_has_passed_when_it_is_taken_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(3, due_ms=world.clock.now_ms())
    courier, sender = world.courier(FakeSender(hangs))
    settle(courier)
    assert len(sender.sent) == 3


def test_a_commit_that_fails_takes_delayed_postbacks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    world.put(2, due_ms=world.clock.now_ms() + 1_000)
    courier, sender = world.courier()
    apply = courier._lanes.apply
    failures = iter([True, True, False])

    def failing(batch: object) -> None:
        if next(failures, False):
            raise WaypostError("data_unwritable", "disk full")
        apply(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(courier._lanes, "apply", failing)
    for _ in range(3):
        courier.step()
    assert world.depth() == (2, 0, 0)
    world.clock.advance(1_000)
    settle(courier)
    assert len(sender.sent) == 2 and world.depth() == (0, 0, 0)


def resent(seq: int, *, begun: int = 0, corrects: str = "", job: str = "j1") -> PostbackOut:
    return PostbackOut(
        f"p{seq}", 1, 1, 0, seq, 1, 1, 0, 0, {"sub1": str(seq)}, batched=True, job=job, begun=begun, corrects=corrects
    )


def test_what_is_resent_shares_no_request_with_what_was_never_sent(world: World) -> None:
    world.outbox.put([resent(0, begun=1), resent(1), resent(2, begun=1), resent(3)])
    courier, sender = world.courier()
    settle(courier)
    sent = {tuple(subs(one)): dict(one.headers) for one in sender.sent}
    assert sent.keys() == {("0", "2"), ("1", "3")}
    assert (sent["0", "2"]["Waypost-Attempt"], sent["0", "2"]["Waypost-Repeat-Reason"]) == ("2", "resend")
    assert sent["1", "3"]["Waypost-Attempt"] == "1" and "Waypost-Repeat" not in sent["1", "3"]


def test_corrections_share_requests_among_themselves(world: World) -> None:
    world.outbox.put([resent(seq, job="", corrects="p9" if seq % 2 else "") for seq in range(6)])
    courier, sender = world.courier()
    settle(courier)
    assert sorted(map(subs, sender.sent)) == [["0", "2", "4"], ["1", "3", "5"]]
    assert not any("Waypost-Corrects" in dict(one.headers) for one in sender.sent), "each item says it, if it wants to"
    assert sorted(one.reason.value for one in world.attempts()) == ["correction", "first"]
