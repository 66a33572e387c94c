"""`explain/trace.py` over the real engines: from any id, the whole story, archived or not."""

import contextlib
import io
import json
from collections.abc import Iterator

import msgspec
import pytest
from rich.console import Console

from support.explain_world import World, some_of_everything
from support.traffic import START_MS
from waypost.errors import WaypostError
from waypost.explain.redact import redact_body, redact_query
from waypost.explain.sources import ExplainSources
from waypost.explain.story import (
    AttemptEvent,
    CallEvent,
    ClickEvent,
    DecisionEvent,
    PostbackEvent,
    SetAsideEvent,
    Story,
)
from waypost.explain.story_text import print_story
from waypost.explain.trace import trace
from waypost.stages.checks import CHECKS


class Told:
    """A world, its ids, and what was said of them."""

    def __init__(self, world: World, ids: dict[str, str], sources: ExplainSources) -> None:
        self.world, self.ids, self.sources = world, ids, sources

    def of(self, name: str, partner: str = "") -> Story:
        return trace(self.ids.get(name, name), self.sources, partner=partner)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    world = World(tmp_path_factory.mktemp("trace") / "data")
    ids = some_of_everything(world)
    with contextlib.closing(world), contextlib.closing(world.sources()) as sources:
        yield Told(world, ids, sources)


def kinds(story: Story) -> list[str]:
    return [str(event.__struct_config__.tag) for event in story.events]


WHOLE = ["click", "call", "decision", "postback", "attempt"]


@pytest.mark.parametrize("half", ["a", "b"])  # archived, and not
def test_the_same_story_from_any_id(told: Told, half: str) -> None:
    receipt = told.ids[f"call later {half}"]
    stories = [
        told.of(f"click later {half}"),
        told.of(receipt),
        told.of(f"t-later-{half}"),
        told.of("c" + receipt[1:]),
        told.of("p" + receipt[1:] + ".1"),
    ]
    assert [story.kind for story in stories] == ["click", "receipt", "transaction", "conversion", "postback"]
    for story in stories:
        assert kinds(story)[:5] == WHOLE
        assert [conversion.id for conversion in story.conversions] == ["c" + receipt[1:]]
        assert story.events == stories[0].events
    click, call, decision, postback, attempt = stories[0].events[:5]
    assert isinstance(click, ClickEvent)
    assert click.click_id == told.ids[f"click later {half}"]
    assert (click.link, click.offer, click.partner, click.catalog) == ("demo", "acme-vpn", "geozo", 1)
    assert click.target == f"http://127.0.0.1:9000/land?cid={click.click_id}&s=later-{half}"
    assert click.parameters == {"sub1": f"later-{half}", "source": "news"}
    assert click.is_stored
    assert isinstance(call, CallEvent)
    assert call.receipt == receipt
    assert (call.state, call.auth, call.advertiser) == ("judged", "token", "acme")
    assert call.query.endswith("&token=***")
    assert isinstance(decision, DecisionEvent)
    assert (decision.verdict, decision.status_before, decision.status) == ("new", "", "approved")
    assert (decision.payout, decision.catalog, decision.terms_catalog) == ("1.20 USD", 1, 1)
    assert [line.name for line in decision.checks] == [check.name for check in CHECKS]
    assert {line.result for line in decision.checks} == {"pass", "skip"}
    assert [(rule.rule, rule.wants, rule.postback) for rule in decision.rules] == [
        (1, "goal: install; status: approved", f"p{receipt[1:]}.1")
    ]
    assert isinstance(postback, PostbackEvent)
    assert (postback.state, postback.values["sub1"]) == ("queued", f"later-{half}")
    assert postback.due_ms > START_MS
    assert isinstance(attempt, AttemptEvent)
    assert (attempt.attempt, attempt.status, attempt.result, attempt.code) == (1, 503, "retry", "http_status")
    assert attempt.url == f"http://127.0.0.1:9001/pb?cid=later-{half}&money=1.20&type=lead"
    assert attempt.meaning


@pytest.mark.parametrize("half", ["a", "b"])
def test_what_became_of_postbacks(told: Told, half: str) -> None:
    for name, state in (("plain", "delivered"), ("later", "queued"), ("never", "dead"), ("hangs", "in flight")):
        story = told.of(f"call {name} {half}")
        (postback,) = [event for event in story.events if isinstance(event, PostbackEvent)]
        assert postback.state == state


def test_updates_and_what_stopped_the_rules(told: Told) -> None:
    story = told.of("click plain a")
    decisions = [event for event in story.events if isinstance(event, DecisionEvent)]
    assert [decision.verdict for decision in decisions] == ["new", "duplicate", "updated"]
    assert decisions[1].rules[0].stopped_by == "no transition: the conversion was approved already"
    assert decisions[2].rules[0].stopped_by.startswith("status is declined, the rule wants approved")
    assert (decisions[2].status_before, decisions[2].status) == ("approved", "declined")
    assert [conversion.status for conversion in story.conversions] == ["declined"]
    # The declining call's own story leads to the same conversion.
    assert len([e for e in told.of("declined a").events if isinstance(e, DecisionEvent)]) == 3


def test_a_refused_call_shows_every_check(told: Told) -> None:
    (decision,) = [event for event in told.of("forged b").events if isinstance(event, DecisionEvent)]
    assert (decision.verdict, decision.code) == ("refused", "click_id_forged")
    assert decision.meaning
    failed = [(line.name, line.detail) for line in decision.checks if line.result == "fail"]
    assert failed == [("click_id_authentic", "'a0123456789ABCDEFabcdef' was not made here")]
    assert len(decision.checks) == len(CHECKS)
    by_click = told.of("a0123456789ABCDEFabcdef")
    assert {event.receipt for event in by_click.events if isinstance(event, CallEvent)} == {
        told.ids["forged a"],
        told.ids["forged b"],
    }


def test_calls_without_a_decision(told: Told) -> None:
    for half in ("a", "b"):
        (call,) = told.of(f"parked {half}").events
        assert isinstance(call, CallEvent)
        assert call.state == "parked"
        assert call.due_ms > call.at_ms
    calls = [event for event in told.of("unread").events if isinstance(event, CallEvent)]
    assert [call.state for call in calls] == ["unread"]
    assert "unread" in {event.state for event in told.of("click plain b").events if isinstance(event, CallEvent)}


def test_only_one_partner(told: Told) -> None:
    assert told.of("click plain a", partner="geozo").events == told.of("click plain a").events
    assert told.of("click plain a", partner="1").events == told.of("click plain a").events
    with pytest.raises(WaypostError, match="nothing of it concerns partner other"):
        told.of("click plain a", partner="other")
    assert kinds(told.of("refused a", partner="other"))


def test_unknown_ids_say_what_was_searched(told: Told) -> None:
    for text in ("r0000000000000001", "c0000000000000001", "p0000000000000001.1", "no-such-txn", "a" * 23):
        with pytest.raises(WaypostError) as caught:
            told.of(text)
        assert caught.value.code == "not_found"
        assert "archive, courier-0, door-0, door-1, operator, ledger-log, outbox, ledger, lanes" in str(caught.value)


def test_set_aside_items_show_bytes_and_error(told: Told) -> None:
    """A poisonous call: its decision carries the frame's bytes; and what the courier sets aside stands apart."""
    world = told.world
    receipt = world.call("click_id=poison&goal=install")
    original = world.pipeline._intake
    assert original is not None

    class Poisoned:
        view = original.view

        def open_case(self, *_: object) -> object:
            raise RuntimeError("boom")

    world.pipeline._intake = Poisoned()  # type: ignore[assignment]
    while world.pipeline.step():
        pass
    world.pipeline._intake = original
    with contextlib.closing(world.sources()) as sources:
        events = trace(receipt, sources).events
    (decision,) = [event for event in events if isinstance(event, DecisionEvent)]
    assert (decision.verdict, decision.code) == ("set_aside", "poisonous_item")
    assert "boom" in decision.error
    assert "click_id=poison" in decision.raw
    assert not any(isinstance(event, SetAsideEvent) for event in events)


def test_text_is_plain_and_fits_100_columns(told: Told) -> None:
    out = io.StringIO()
    print_story(told.of("click plain a"), Console(file=out, width=100, highlight=False))
    text = out.getvalue()
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
    words = " ".join(text.split())
    for piece in (told.ids["click plain a"], "s3cret", "decision new", "rules 1 (on goal: install; status: approved)"):
        assert (piece in words) == (piece != "s3cret")
    assert all(check.name in text for check in CHECKS)


def test_what_came_from_outside_cannot_steer_the_terminal(told: Told) -> None:
    story = told.of("click plain a")
    click = story.events[0]
    assert isinstance(click, ClickEvent)
    hostile = "\x1b[31m\x9b2J\u202e\nforged"
    click.parameters = {hostile: hostile}
    click.user_agent = hostile
    out = io.StringIO()
    print_story(story, Console(file=out, width=100, highlight=False))
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    assert r"\x1b[31m\x9b2J\u202e\nforged" in out.getvalue()


def test_json_is_the_story(told: Told) -> None:
    story = told.of("click plain a")
    content = json.loads(msgspec.json.encode(story))
    assert [event["event"] for event in content["events"]] == kinds(story)
    assert msgspec.json.decode(msgspec.json.encode(story), type=Story) == story


def test_secrets_are_blotted_out() -> None:
    secrets = {"token", "key"}
    assert (
        redact_query(b"a=1&token=x%20y&to%6ben=z&mytoken=3&key", secrets) == "a=1&token=***&to%6ben=***&mytoken=3&key"
    )
    body = b'{"token" : "a\\"b", "key":12, "other":"token"}'
    assert redact_body(body, "application/json", secrets) == '{"token" : "***", "key":"***", "other":"token"}'
    assert redact_body(b"token=1&a=\xff", "application/x-www-form-urlencoded", secrets) == "token=***&a=\\xff"
