"""The headers that say which postback a request carries, which attempt it is, and why; and who gets which."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.courier_world import World, fails, hangs, settle
from support.sender import FakeSender
from waypost.catalog.model import Authentication, Batch, Delivery, PostbackRule
from waypost.courier.render import batch_id
from waypost.model.frames import PostbackOut


def rule(method: str = "POST", headers: dict[str, str] | None = None, **more: Any) -> PostbackRule:
    return PostbackRule(1, (), (), (), (), method, "http://a.example/?c={sub1}", headers or {}, "", (), **more)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def names(request: Any) -> list[str]:
    return [name for name, _ in request.headers]


BASE = ["Waypost-Id", "Waypost-Attempt", "Waypost-First-Attempt"]


@pytest.mark.parametrize(
    ("style", "method", "own", "sent"),
    [
        ("all", "GET", {}, BASE),
        ("all", "POST", {}, [*BASE, "Idempotency-Key"]),
        ("all", "PUT", {}, [*BASE, "Idempotency-Key"]),
        ("all", "POST", {"idempotency-key": "mine"}, [*BASE, "idempotency-key"]),
        ("standard", "GET", {}, ["Idempotency-Key", "webhook-id"]),
        ("standard", "POST", {}, ["Idempotency-Key", "webhook-id"]),
        ("standard", "POST", {"Webhook-Id": "mine"}, ["Idempotency-Key", "Webhook-Id"]),
        ("none", "GET", {}, []),
        ("none", "POST", {"X-Id": "{postback_id}", "X-Again": "{is_repeat}"}, ["X-Id", "X-Again"]),
    ],
)
def test_who_gets_which(world: World, style: str, method: str, own: dict[str, str], sent: list[str]) -> None:
    world.deliveries[1], world.rules[1] = Delivery(headers=style), rule(method, own)
    world.put(1)
    courier, sender = world.courier()
    settle(courier)
    assert names(sender.sent[0]) == sent
    ids = {value for name, value in sender.sent[0].headers if name in ("Waypost-Id", "Idempotency-Key", "X-Id")}
    assert ids == ({"p0"} if sent else set())


def test_what_the_catalog_says_now_holds_for_what_is_queued(world: World) -> None:
    world.put(1)
    courier, sender = world.courier(FakeSender(fails()))
    settle(courier)
    assert names(sender.sent[0]) == BASE
    world.deliveries[1] = Delivery(headers="none")
    courier, sender = world.courier()
    world.clock.advance(1000)
    settle(courier)
    assert names(sender.sent[0]) == []


def test_the_id_is_the_same_at_every_attempt_after_a_crash_and_when_it_is_sent_again(world: World) -> None:
    world.rules[1] = rule()
    world.put(1)
    courier, first = world.courier(FakeSender(hangs))
    courier.step()
    courier, second = world.courier(FakeSender(fails()))
    settle(courier)
    courier, third = world.courier()
    world.clock.advance(60_000)
    settle(courier)
    (old,) = [frame for frame in world.outbox.frames() if isinstance(frame, PostbackOut)]
    world.outbox.put([msgspec.structs.replace(old, job="j1", begun=3, first_ms=1_700_000_000_000)])
    settle(courier)
    sent = [dict(request.headers) for request in (*first.sent, *second.sent, *third.sent)]
    assert [one["Waypost-Id"] for one in sent] == [one["Idempotency-Key"] for one in sent] == ["p0"] * 4
    assert [one["Waypost-Attempt"] for one in sent] == ["1", "2", "3", "4"]
    assert [one.get("Waypost-Repeat") for one in sent] == [None, "1", "1", "1"]
    assert [one.get("Waypost-Repeat-Reason") for one in sent] == [None, "unknown-after-crash", "retry", "resend"]
    assert len({one["Waypost-First-Attempt"] for one in sent[:3]}) == 1
    assert sent[3]["Waypost-First-Attempt"] == "2023-11-14T22:13:20.000Z"


def test_standard_webhooks_names_its_id_once(world: World) -> None:
    world.rules[1] = rule(auth=Authentication(webhooks=("whsec_AAAA",)))
    for style in ("all", "standard", "none"):
        world.deliveries[1] = Delivery(headers=style)
        world.put(1)
        courier, sender = world.courier()
        settle(courier)
        found = dict(sender.sent[0].headers)
        assert names(sender.sent[0]).count("webhook-id") == 1
        assert found["webhook-id"] == found.get("Idempotency-Key", found["webhook-id"])


def test_a_batch_has_an_id_of_its_own_under_every_name(world: World) -> None:
    world.rules[1] = rule(batch=Batch(2, 1000, "{postback_id}"))
    for style, expected in (
        ("all", ["Waypost-Id", "Idempotency-Key"]), ("standard", ["Idempotency-Key", "webhook-id"])
    ):  # fmt: skip
        world.deliveries[1] = Delivery(headers=style)
        first = world.outbox.end
        world.put(2, batched=True)
        courier, sender = world.courier()
        settle(courier)
        found = dict(sender.sent[0].headers)
        assert {found[name] for name in expected} == {batch_id([f"p{first}", f"p{first + 1}"])}
        assert ("Waypost-Batch" in found) == (style == "all")
