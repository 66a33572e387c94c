"""What the load must come to, computed without Waypost: terms, statuses, amounts and URLs, in arithmetic of its own.

A call that got no answer may or may not count. So a transaction has several *worlds*, one for each subset of its
unanswered calls, and for each of them (under a cap) admitted or not; what Waypost did must be one of them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple
from urllib.parse import quote

CAP = 150
CURRENCY_DECIMALS = {"USD": 2, "JPY": 0, "KWD": 3}


class Terms(NamedTuple):
    """What a goal pays: an amount, or a share in percent of the sum; `status` is that of calls that name none."""

    fixed: str = ""
    percent: int = 0
    status: str = "approved"


TERMS = {
    ("vpn", "install"): Terms(fixed="1.20"),
    ("vpn", "purchase"): Terms(percent=30),
    ("vpn", "trial"): Terms(fixed="0.50", status="pending"),
    ("capped", "install"): Terms(fixed="2.00"),
}
PARTNERS = ("geozo", "slow", "flaky")
BECOMES = {"pending": ("approved", "declined"), "approved": ("declined",), "declined": ("approved",)}
WORDS = {"approved": "lead", "declined": "cancel", "pending": "wait"}
FIELDS = ("cid", "goal", "money", "cur", "sum", "tx", "type")


def catalog(port: int, retry: str) -> str:
    """The catalog of the load; every partner's server listens on `port`."""
    partners = "".join(
        f"  {partner}:\n"
        f"    delivery: {{retry: {retry}, timeout: 2s, jitter: 10%}}\n"
        f"    postbacks:\n"
        f"      - on: {{goal: [install, purchase, trial], status: [approved, declined]}}\n"
        f"        get: http://127.0.0.1:{port}/{partner}/pb?cid={{sub1}}&goal={{goal}}&money={{payout}}&cur={{currency}}"
        f"&sum={{sum}}&tx={{txn_id}}&type={{status|map(approved=lead, declined=cancel)}}\n"
        for partner in PARTNERS
    )
    links = "".join(
        f"  {partner}-{offer}: {{partner: {partner}, offer: {offer}}}\n"
        for partner in PARTNERS
        for offer in ("vpn", "capped")
    )
    url = "http://127.0.0.1:9/land?cid={click_id}&s={sub1}"
    return f"""
waypost: 1
advertisers:
  acme: {{token: s3cret}}
offers:
  vpn:
    advertiser: acme
    url: {url}
    goals:
      install: {{payout: 1.20 USD}}
      purchase: {{payout: 30%}}
      trial: {{payout: 0.50 USD, status: pending}}
  capped:
    advertiser: acme
    url: {url}
    goals:
      install: {{payout: 2.00 USD}}
    caps:
      - {{count: conversions, limit: {CAP}, per: total}}
partners:
{partners}links:
{links}"""


@dataclass
class Call:
    """One call and what came of each try: a receipt, or nothing where the connection died."""

    goal: str
    txn: str = ""
    status: str = ""
    sum: str = ""
    currency: str = ""
    click_id: str = ""  # another than the visit's
    tries: list[str] = field(default_factory=list)

    def parameters(self, click_id: str) -> dict[str, str]:
        """Its query, but for the token."""
        named = {"goal": self.goal, "txn_id": self.txn, "status": self.status, "sum": self.sum}
        named["currency"] = self.currency
        return {"click_id": self.click_id or click_id} | {name: value for name, value in named.items() if value}


@dataclass
class Visit:
    """One click, with all the calls that follow it, in their order. `sub1` is unique."""

    partner: str
    offer: str
    sub1: str
    calls: list[Call]
    click_id: str = ""


class World(NamedTuple):
    """One way that a visit may have gone: verdict and code by receipt, targets in order, what is owed at the end."""

    verdicts: dict[str, tuple[str, str]]
    targets: list[str]
    owed: dict[str, Decimal]
    admitted: int  # conversions that count against the cap


class _State(NamedTuple):
    status: str
    sum: str
    currency: str
    payout: Decimal


def worlds(visit: Visit) -> Iterator[World]:
    """Every way that is right."""
    unanswered = sum(1 for call in visit.calls for receipt in call.tries if not receipt)
    rooms = (True, False) if visit.offer == "capped" else (True,)
    for room in rooms:
        for counted in itertools.product((True, False), repeat=unanswered):
            yield _world(visit, room, counted)


def _world(visit: Visit, room: bool, counted: tuple[bool, ...]) -> World:
    world = World({}, [], {}, 0)
    states: dict[str, _State] = {}
    chances = iter(counted)
    for call in visit.calls:
        for receipt in call.tries:
            if not receipt and not next(chances):
                continue
            identity = f"{call.goal} {call.txn}"
            before = states.get(identity)
            verdict, code, after = _judged(visit, call, before, room)
            if receipt:
                world.verdicts[receipt] = (verdict, code)
            if after is not None:
                states[identity] = after
                was = before.status if before is not None else ""
                if after.status != was and after.status != "pending":
                    world.targets.append(_target(visit, call, after))
    for state in states.values():
        if state.status == "approved":
            world.owed[state.currency] = world.owed.get(state.currency, Decimal(0)) + state.payout
    return world._replace(admitted=len(states) if visit.offer == "capped" else 0)


def _judged(visit: Visit, call: Call, before: _State | None, room: bool) -> tuple[str, str, _State | None]:
    """Verdict, code, and the new state where it changes."""
    terms = TERMS.get((visit.offer, call.goal))
    if call.click_id:
        return "refused", "click_id_forged", None
    if terms is None:
        return "refused", "goal_unknown", None
    if call.sum and not call.sum.replace(".", "", 1).isdigit():
        return "refused", "sum_malformed", None
    if before is None:
        if terms.percent and not call.sum:
            return "refused", "sum_missing", None
        if not room:
            return "refused", "cap_reached", None
        currency = call.currency or "USD"
        return "new", "", _State(call.status or terms.status, call.sum, currency, payout(terms, call.sum, currency))
    status = call.status or before.status
    if status != before.status and status not in BECOMES[before.status]:
        return "refused", "status_not_updatable", None
    total = call.sum or before.sum
    if (status, total) == (before.status, before.sum):
        return "duplicate", "duplicate", None
    return "updated", "", before._replace(status=status, sum=total, payout=payout(terms, total, before.currency))


def payout(terms: Terms, total: str, currency: str) -> Decimal:
    """The amount to the currency's decimals; a half is rounded up."""
    unit = Decimal(1).scaleb(-CURRENCY_DECIMALS[currency])
    if terms.fixed:
        return Decimal(terms.fixed)
    units = Decimal(total) * terms.percent / 100 / unit
    return (units + Decimal("0.5")).to_integral_value(ROUND_FLOOR) * unit


def _target(visit: Visit, call: Call, state: _State) -> str:
    decimals = CURRENCY_DECIMALS[state.currency]
    total = f"{Decimal(state.sum):.{decimals}f}" if state.sum else ""
    values = (
        visit.sub1, call.goal, f"{state.payout:.{decimals}f}", state.currency, total, call.txn, WORDS[state.status],
    )  # fmt: skip
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in zip(FIELDS, values, strict=True))
    return f"/{visit.partner}/pb?{pairs}"
