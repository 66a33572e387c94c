"""What a job of resends tells that was never told: conversions of which rules of today tell, and those of then did not.

Owns: the filters, and which rules have told of a conversion. Reads the ledger, the click store, the archive and what
feeds hold beyond it; writes nothing. Never decides what is told: `stages/resends.py` does, here for the preview and in
the pipeline for good.

A conversion remembers which rules told of it; of one that an older release made the archive's postbacks say it. A rule
without a name has told also where one told that sends the same request: it may have stood at another place then.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from waypost.catalog.model import Partner, PostbackRule
from waypost.catalog.view import CatalogView
from waypost.explain.resends import Pick, Tails, Wanted
from waypost.explain.sources import ExplainSources
from waypost.model.frames import Click, Conversion, Resend
from waypost.model.ids import ClickIdCodec, ClickKey, conversion_text
from waypost.model.wire import decode_frame
from waypost.stages.archive_rows import Row
from waypost.stages.case import Intake, Where
from waypost.stages.resends import MISSING, case_of, missing
from waypost.stages.rules import RuleBook, rule_key

_AT_ONCE = 500
_NOWHERE = Where("operator", 0)


class Missing:
    """One look at the stores."""

    def __init__(self, sources: ExplainSources, wanted: Wanted, tails: Tails) -> None:
        self._sources, self._wanted, self._tails = sources, wanted, tails
        self._view = sources.catalogs.open(sources.catalogs.current())
        self._intake, self._rules = Intake(self._view), RuleBook(self._view)
        self._codec = ClickIdCodec(sources.ring)
        self._versions = set(sources.catalogs.versions())
        self._postbacks: dict[str, list[Row]] = defaultdict(list)  # beyond the archive, by conversion
        for row in tails.postbacks:
            self._postbacks[row["conversion"]].append(row)
        self._made = {row["conversion"]: row for row in tails.decisions if row["verdict"] == "new"}
        self._keys: dict[tuple[int, int, int], frozenset[int]] = {}  # by catalog version, partner and rule of then

    def picks(self, job: str, at_ms: int, after: int = -1) -> Iterator[Pick]:
        """All conversions that the filters select beyond the receipt `after` and of which something is missing, and
        those of which it is and cannot be told."""
        ledger = self._sources.ledger
        if ledger is None:
            return
        selected = (one for one in ledger.conversions() if one.receipt > after and self._is_wanted(one))
        while block := list(islice(selected, _AT_ONCE)):
            clicks = self._clicks(block)
            made, told = self._calls(block), self._told(block)
            for conversion in block:
                key = _click_of(conversion)
                step = self._step(conversion, clicks.get(key), made, told[conversion.receipt], job, at_ms)
                yield from self._pick(conversion, step)

    def _is_wanted(self, one: Conversion) -> bool:
        wanted = self._wanted
        if wanted.ids:
            if conversion_text(one.receipt) not in wanted.ids:
                return False
        elif one.test:
            return False
        return (
            wanted.from_ms <= one.created_ms < (wanted.to_ms or 1 << 62)
            and (not wanted.goal or one.goal == wanted.goal)
            and (not wanted.status or one.status == wanted.status)
        )

    def _step(
        self,
        conversion: Conversion,
        click: Click | None,
        made: dict[str, Row],
        told: tuple[int, ...],
        job: str,
        at_ms: int,
    ) -> Resend:
        call = made.get(conversion_text(conversion.receipt))
        flags = click.flags if click is not None else 0
        click_id = call["click_id"] if call is not None else ""
        return Resend(
            at_ms,
            job,
            MISSING,
            conversion.receipt,
            conversion=conversion.receipt,
            partner=self._wanted.partner,
            told=told,
            accepted_ms=call["at_ms"] if call is not None else conversion.created_ms,
            click=click,
            click_id=click_id or self._codec.encode(*_click_of(conversion), conversion.route, flags),
        )

    def _pick(self, conversion: Conversion, step: Resend) -> Iterator[Pick]:
        """What is to be told of the conversion; nothing if that is nothing."""
        ledger = self._sources.ledger
        assert ledger is not None
        terms = self._open(step.click.catalog) if step.click is not None else None
        case = case_of(step, _NOWHERE, conversion, self._intake, terms)
        if self._rules.has_firsts and case.click_key is not None:
            case.fired = ledger.fired([case.click_key]).get(case.click_key, ())
        found = missing(step, _NOWHERE, msgspec.structs.replace(conversion), self._rules, case, step.at_ms)
        name, partner = conversion_text(conversion.receipt), conversion.partner
        if not isinstance(found, str):
            rules = tuple((post.partner, post.rule) for post in found.postbacks)
            yield Pick(conversion.receipt, name, rules[0][0], rules, step)
        elif found != "nothing_missing":
            yield Pick(conversion.receipt, name, partner, (), None, found)

    # --- look-ups --------------------------------------------------------------------------------------

    def _open(self, version: int) -> CatalogView | None:
        return self._sources.catalogs.open(version) if version in self._versions else None

    def _clicks(self, block: Sequence[Conversion]) -> dict[ClickKey, Click]:
        """From the click store, or, where it has dropped them, from the archive."""
        keys = {_click_of(one) for one in block}
        store = self._sources.clicks
        frames = [decode_frame(data) for data in store.get_many(sorted(keys)).values()] if store is not None else []
        found = {ClickKey(one.ms, one.door, one.seq): one for one in frames if isinstance(one, Click)}
        if gone := keys - found.keys():
            sql = "SELECT * FROM clicks WHERE kind = 'click' AND ms IN (SELECT unnest(?))"
            for row in self._sources.archive.query(sql, [sorted({key.ms for key in gone})]):
                key = ClickKey(row["ms"], row["door"], row["seq"])
                if key in gone:
                    found[key] = click_of(row)
        return found

    def _calls(self, block: Sequence[Conversion]) -> dict[str, Row]:
        """The decisions that made them."""
        names = [conversion_text(one.receipt) for one in block]
        rows = self._sources.archive.query(
            "SELECT conversion, at_ms, click_id FROM decisions"
            " WHERE verdict = 'new' AND conversion IN (SELECT unnest(?))",
            [names],
        )
        return {row["conversion"]: row for row in rows} | {one: self._made[one] for one in names if one in self._made}

    def _told(self, block: Sequence[Conversion]) -> dict[int, tuple[int, ...]]:
        """By conversion, the keys of the rules of today that have told of it."""
        names = {conversion_text(one.receipt): one for one in block}
        rows = self._sources.archive.query(
            "SELECT conversion, partner, rule, catalog FROM postbacks WHERE conversion IN (SELECT unnest(?))",
            [list(names)],
        )
        told: dict[int, set[int]] = {one.receipt: set() for one in block}
        for row in [*rows, *(row for name in names for row in self._postbacks.get(name, ()))]:
            told[names[row["conversion"]].receipt] |= self._keys_of(row["catalog"], row["partner"], row["rule"])
        return {receipt: tuple(sorted(keys)) for receipt, keys in told.items()}

    def _keys_of(self, version: int, partner: int, number: int) -> frozenset[int]:
        place = (version, partner, number)
        if place not in self._keys:
            then = self._open(version)
            was = _rule_of(then.partner(partner) if then is not None else None, number)
            today = self._view.partner(partner)
            keys: set[int] = set()
            if was is not None:
                keys.add(rule_key(partner, was))
                unnamed = [rule for rule in (today.rules if today is not None else ()) if not (rule.name and was.name)]
                keys |= {rule_key(partner, rule) for rule in unnamed if _request(rule) == _request(was)}
            self._keys[place] = frozenset(keys)
        return self._keys[place]


def click_of(row: Row) -> Click:
    """The frame that a row was made from."""
    return Click(
        row["ms"],
        row["door"],
        row["seq"],
        row["route"],
        row["flags"],
        row["partition"],
        row["catalog"],
        bytes(row["query"]),
        row["ip"],
        bytes(row["user_agent"]),
        bytes(row["referrer"]),
        row["mode"] or "",
        msgspec.json.decode(row["visitor"] or "{}", type=dict[str, str]),
        tuple((one["offer"], one["code"]) for one in row["skipped"] or ()),
        bytes(row["visitor_key"] or b""),
        tuple(row["marks"] or ()),
    )


def _click_of(conversion: Conversion) -> ClickKey:
    return ClickKey(conversion.click_ms, conversion.click_door, conversion.click_seq)


def _rule_of(partner: Partner | None, number: int) -> PostbackRule | None:
    return next((rule for rule in partner.rules if rule.no == number), None) if partner is not None else None


def _request(rule: PostbackRule) -> tuple[object, ...]:
    return rule.method, rule.url, rule.body, rule.batch
