"""The values that a recorded conversion has for a postback's macros.

Owns: how a story becomes values: what the click brought, what was decided, then what was committed with its postbacks
(the last word). Reads a story; writes nothing. Never shows what identifies a person or a device: it leaves for nobody.
"""

from collections.abc import Iterable
from typing import NamedTuple

from waypost.explain.story import ClickEvent, DecisionEvent, PostbackEvent, Story
from waypost.macros.names import CLICK_PREFIX, MACROS, is_personal


class Recorded(NamedTuple):
    """`values` by macro; `origins` says of each where it was found: `click`, `decision` or a postback's id."""

    values: dict[str, str]
    origins: dict[str, str]


def recorded_values(story: Story) -> Recorded:
    """The values at the story's end: the last decision's, and those of its postbacks, of one where the id names one."""
    recorded = Recorded({}, {})
    for event in story.events:
        if isinstance(event, ClickEvent):
            _add(recorded, _of_click(event), "click")
        elif isinstance(event, DecisionEvent):
            _add(recorded, _of_decision(event), "decision")
    postbacks = [event for event in story.events if isinstance(event, PostbackEvent)]
    named = [event for event in postbacks if event.id == story.id]
    for event in named or postbacks:
        _add(recorded, event.values.items(), event.id)
        _add(recorded, (("postback_id", event.id), ("attempt", str(event.attempts + 1))), event.id)
    return recorded


def _add(recorded: Recorded, values: Iterable[tuple[str, str]], origin: str) -> None:
    for name, value in values:
        if value and not is_personal(name):
            recorded.values[name] = value
            recorded.origins[name] = origin


def _of_click(event: ClickEvent) -> Iterable[tuple[str, str]]:
    for name, value in event.parameters.items():
        yield (name if name in MACROS else CLICK_PREFIX + name), value
    yield from (
        ("click_id", event.click_id),
        ("link", event.link),
        ("offer", event.offer),
        ("partner", event.partner),
        ("click_time", str(event.at_ms // 1000)),
    )


def _of_decision(event: DecisionEvent) -> Iterable[tuple[str, str]]:
    sums = {"payout": "currency", "revenue": "", "sum": "sum_currency"}
    for name, of_currency in sums.items():
        amount, _, currency = getattr(event, name).partition(" ")
        yield name, amount
        if of_currency:
            yield of_currency, currency
    for name in ("goal", "status", "status_before", "txn_id", "advertiser", "verdict", "code"):
        yield name, getattr(event, name)
    yield from (
        ("event", event.goal),
        ("conversion_id", event.conversion),
        ("conversion_time", str(event.at_ms // 1000)),
        ("test", "1" if event.test else "0"),
    )
