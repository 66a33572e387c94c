"""What a replay came to: every decision and every rendered byte that differs, grouped.

Input: recorded and replayed batches, both catalogs, a way to render. Output: `ReplayReport`. Reads catalog views;
writes nothing. Never shows a secret: what is rendered comes with secrets struck out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from waypost.catalog.view import CatalogView
from waypost.model.frames import Click, Decision, PostbackOut
from waypost.model.ids import receipt_text
from waypost.model.money import Money
from waypost.model.wire import decode_block, decode_frame
from waypost.ports.recording import RecordedBatch, Recording
from waypost.ports.sender import Rehearsed
from waypost.runtime.journal_reader import DOOR
from waypost.runtime.replay import ReplayedBatch, ReplayStores, replay
from waypost.runtime.replay_clicks import ClickReplay
from waypost.settings import PipelineSettings

EXAMPLES_MAX = 5
GROUPS_MAX = 1_000
_BY_NATURE = frozenset({"catalog", "terms_catalog", "rules"})  # differ under another catalog; postbacks are compared
_TOLD_APART = ("verdict", "code", "status", "goal", "offer", "partner")  # fields that make groups by their values


Render = Callable[[PostbackOut], Rehearsed]
_Key = TypeVar("_Key")


class Difference(msgspec.Struct):
    """One group. `what` is `decision`, `money`, `postback gone`, `postback new`, `postback changed` or `click`."""

    what: str
    where: dict[str, str]
    was: str
    now: str
    count: int = 0
    examples: list[str] = []


class ReplayReport(msgspec.Struct):
    """Counts of what was replayed, sums of payouts by currency, and the groups, largest first."""

    batches: int = 0
    clicks: int = 0
    calls: int = 0
    calls_same: int = 0
    clicks_moved: int = 0
    clicks_unsure: int = 0
    postbacks_was: int = 0
    postbacks_now: int = 0
    postbacks_same: int = 0
    payout_was: dict[str, str] = {}
    payout_now: dict[str, str] = {}
    groups_cut: int = 0
    differences: list[Difference] = []

    @property
    def is_same(self) -> bool:
        return not self.differences


class Names:
    """Names of partners and offers by number, under one catalog version."""

    def __init__(self, view: CatalogView) -> None:
        self._view = view

    def partner(self, no: int) -> str:
        found = self._view.partner(no) if no else None
        return found.name if found is not None else str(no or "")

    def offer(self, no: int) -> str:
        found = self._view.offer(no) if no else None
        return found.name if found is not None else str(no or "")


class Side(NamedTuple):
    """One of the two: how its postbacks are rendered, the catalog that names its partners and offers."""

    render: Render
    view: CatalogView

    @property
    def names(self) -> Names:
        return Names(self.view)


class Comparison:
    """Takes batch after batch; `report` is complete after the last."""

    def __init__(self, was: Side, now: Side, *, other_catalog: bool) -> None:
        self._was = was
        self._now = now
        self._ignored = _BY_NATURE if other_catalog else frozenset()
        self._groups: dict[tuple[str, ...], Difference] = {}
        self._paid: tuple[dict[str, Decimal], dict[str, Decimal]] = ({}, {})
        self.report = ReplayReport()

    def add(self, batch: ReplayedBatch) -> None:
        """Compares one batch."""
        self.report.batches += 1
        was, now = _by_place(batch.recorded.decisions), _by_place(batch.decisions)
        (sent_was, resent_was), (sent_now, resent_now) = _by_id(batch.recorded.postbacks), _by_id(batch.postbacks)
        self.report.postbacks_was += len(sent_was) + len(resent_was)
        self.report.postbacks_now += len(sent_now) + len(resent_now)
        for place in [*was, *(place for place in now if place not in was)]:
            self.report.calls += 1
            before, after = was.get(place), now.get(place)
            is_same = self._compare_decisions(before, after)
            is_same &= self._compare_postbacks(before, after, sent_was, sent_now)
            self.report.calls_same += is_same
        self._compare_each(resent_was, resent_now)

    def finish(self) -> ReplayReport:
        """The report, groups sorted."""
        report = self.report
        report.differences = sorted(self._groups.values(), key=lambda group: -group.count)
        report.payout_was, report.payout_now = (
            {currency: str(amount) for currency, amount in sorted(paid.items())} for paid in self._paid
        )
        return report

    # --- decisions -------------------------------------------------------------------------------------

    def _compare_decisions(self, was: Decision | None, now: Decision | None) -> bool:
        self._pay(0, was)
        self._pay(1, now)
        if was is None or now is None:
            one = was or now
            assert one is not None
            texts = ("decided", "not decided") if was is not None else ("not decided", "decided")
            self._note("decision", {"offer": self._was.names.offer(one.offer)}, *texts, receipt_text(one.receipt))
            return False
        changed = [
            name
            for name in Decision.__struct_fields__
            if name not in self._ignored and getattr(was, name) != getattr(now, name)
        ]
        if not changed:
            return True
        where = {"offer": self._was.names.offer(was.offer), "goal": was.goal}
        where["partner"] = self._was.names.partner(was.partner)
        example = receipt_text(was.receipt)
        told = [name for name in _TOLD_APART if name in changed]
        money = [name for name in ("payout", "revenue", "sum", "reported") if name in changed]
        if told:
            before = ", ".join(f"{name} {self._shown(self._was, was, name)}" for name in told)
            after = ", ".join(f"{name} {self._shown(self._now, now, name)}" for name in told)
            self._note("decision", where, before, after, example)
        elif money:
            what = " and ".join(money)
            self._note("money", {**where, "of": what}, _amounts(was, money), _amounts(now, money), example, apart=())
        else:
            what = ", ".join(changed)
            before, after = ("; ".join(f"{name} {getattr(one, name)}"[:200] for name in changed) for one in (was, now))
            self._note("decision", {**where, "of": what}, before, after, example, apart=())
        return False

    def _shown(self, side: Side, decision: Decision, name: str) -> str:
        value = getattr(decision, name)
        if name in ("offer", "partner"):
            value = side.names.offer(value) if name == "offer" else side.names.partner(value)
        return f"`{value}`"

    def _pay(self, nth: int, decision: Decision | None) -> None:
        if decision is None or decision.payout is None or decision.test or decision.verdict != "new":
            return
        if decision.status != "declined":
            paid = self._paid[nth]
            paid[decision.payout.currency] = paid.get(decision.payout.currency, Decimal(0)) + decision.payout.amount

    # --- postbacks -------------------------------------------------------------------------------------

    def _compare_postbacks(
        self,
        was: Decision | None,
        now: Decision | None,
        sent_was: Mapping[str, PostbackOut],
        sent_now: Mapping[str, PostbackOut],
    ) -> bool:
        return self._compare_each(_caused(was, sent_was), _caused(now, sent_now))

    def _compare_each(self, before: Mapping[_Key, PostbackOut], after: Mapping[_Key, PostbackOut]) -> bool:
        is_same = True
        for key in [*before, *(key for key in after if key not in before)]:
            old, new = before.get(key), after.get(key)
            if old is not None and new is not None:
                is_same &= self._compare_requests(old, new)
                continue
            side, one = (self._was, old) if old is not None else (self._now, new)
            assert one is not None
            where = {"partner": side.names.partner(one.partner), "rule": str(one.rule)}
            text = _told(side.render(one))
            what, texts = ("postback gone", (text, "")) if old is not None else ("postback new", ("", text))
            self._note(what, where, *texts, one.id, apart=())
            is_same = False
        return is_same

    def _compare_requests(self, old: PostbackOut, new: PostbackOut) -> bool:
        was, now = self._was.render(old), self._now.render(new)
        parts = [name for name in Rehearsed._fields if getattr(was, name) != getattr(now, name)]
        if old.due_ms - old.created_ms != new.due_ms - new.created_ms and (old.due_ms or new.due_ms):
            parts.append("delay")
        if not parts and not self._ignored:
            parts = [name for name in PostbackOut.__struct_fields__ if getattr(old, name) != getattr(new, name)]
        if not parts:
            self.report.postbacks_same += 1
            return True
        where = {"partner": self._was.names.partner(old.partner), "rule": str(old.rule), "of": ", ".join(parts)}
        self._note("postback changed", where, _told(was, parts), _told(now, parts), old.id, apart=())
        return False

    # --- groups ----------------------------------------------------------------------------------------

    def add_click(self, click: Click, replay: ClickReplay | None) -> None:
        """Counts it, and notes where it would have gone instead."""
        self.report.clicks += 1
        moved = replay.place(click) if replay is not None else None
        if moved is None or moved.was == moved.now:
            return
        if not moved.is_sure:
            self.report.clicks_unsure += 1
            return
        self.report.clicks_moved += 1
        self._note("click", {"link": moved.link}, moved.was, moved.now, f"{click.ms}/{click.door}/{click.seq}")

    def _note(
        self, what: str, where: dict[str, str], was: str, now: str, example: str, *, apart: Sequence[str] | None = None
    ) -> None:
        """Counts it in its group: told apart by `was` and `now`, unless `apart` names what does."""
        key = (what, *where.values(), *((was, now) if apart is None else apart))
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= GROUPS_MAX:
                self.report.groups_cut += 1
                return
            group = self._groups[key] = Difference(what, where, was, now)
        group.count += 1
        if len(group.examples) < EXAMPLES_MAX:
            group.examples.append(example)


def compare(
    recording: Recording,
    stores: ReplayStores,
    settings: PipelineSettings,
    was: Side,
    now: Side,
    *,
    instead: int = 0,
) -> ReplayReport:
    """Replays a recording and compares; with `instead`, under that catalog version, clicks included."""
    comparison = Comparison(was, now, other_catalog=bool(instead))
    clicks = ClickReplay(stores.catalogs.open, now.view) if instead else None
    for batch in replay(recording, stores, settings, instead=instead):
        comparison.add(batch)
        for click in _clicks(recording, batch.recorded):
            comparison.add_click(click, clicks)
    return comparison.finish()


def _clicks(recording: Recording, batch: RecordedBatch) -> Iterator[Click]:
    for one in batch.record.ranges:
        if one.clicks and one.source.startswith(DOOR):
            for block in recording.blocks(one.source, one.start, one.end):
                yield from (frame for frame in decode_block(block.data, block.count) if type(frame) is Click)


def _by_place(raws: Iterable[bytes]) -> dict[tuple[str, int], Decision]:
    return {(one.source, one.position): one for one in _decoded(raws) if isinstance(one, Decision)}


def _by_id(raws: Iterable[bytes]) -> tuple[dict[str, PostbackOut], dict[tuple[str, str], PostbackOut]]:
    """Postbacks that decisions caused, and those that jobs of resends put there, by (id, job)."""
    posts = [one for one in _decoded(raws) if isinstance(one, PostbackOut)]
    return {one.id: one for one in posts if not one.job}, {(one.id, one.job): one for one in posts if one.job}


def _decoded(raws: Iterable[bytes]) -> Iterator[object]:
    return (decode_frame(raw) for raw in raws)


def _caused(decision: Decision | None, sent: Mapping[str, PostbackOut]) -> dict[tuple[int, int, int], PostbackOut]:
    """A decision's postbacks by (partner, rule, how many the rule has caused before)."""
    found: dict[tuple[int, int, int], PostbackOut] = {}
    for outcome in decision.rules if decision is not None else ():
        one = sent.get(outcome.postback)
        if one is not None:
            nth = sum(key[:2] == (one.partner, one.rule) for key in found)
            found[one.partner, one.rule, nth] = one
    return found


def _amounts(decision: Decision, names: Sequence[str]) -> str:
    amounts: list[Money | None] = [getattr(decision, name) for name in names]
    return ", ".join(
        f"{name} {amount if amount is not None else 'none'}" for name, amount in zip(names, amounts, strict=True)
    )


def _told(request: Rehearsed, parts: Sequence[str] = ("url", "body")) -> str:
    if request.problem:
        return request.problem
    shown = [str(getattr(request, name)) for name in parts if name in Rehearsed._fields and getattr(request, name)]
    return f"{request.method} " + " ".join(shown) if "url" in parts else " ".join(shown)
