"""What a job of resends sends again: postbacks selected from the archive, and from what feeds hold beyond it.

Owns: the filters, what is left out and why, and how the postback as it was comes back from its row. Reads archive,
feeds and lanes; writes nothing. Never sends: a command appends the steps that are answered here.

Rows come in the order of their places in the outbox, which is what makes a job resumable (`model.frames.Resend`).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from waypost.explain.sources import LOG, OUTBOX, ExplainSources, tail_rows
from waypost.model.frames import PostbackOut, Resend, SendResult
from waypost.model.ids import parse_numbered
from waypost.ports.lanes import ItemState
from waypost.stages.archive_rows import Row
from waypost.stages.resends import AGAIN, REFUSALS, again

AT_ONCE = 10_000
_UNTRIED = (SendResult.HELD, SendResult.SUPERSEDED, SendResult.DROPPED, SendResult.REDRIVEN)  # came without an attempt
_STATES = {
    ItemState.QUEUED: "queued", ItemState.IN_FLIGHT: "in_flight", ItemState.DEAD: "dead", ItemState.HELD: "held",
}  # fmt: skip
LEFT = {
    "queued": "it stands in its lane and will be sent",
    "in_flight": "it is being sent",
    "dead": "it is a dead letter in its lane: see `waypost lanes retry`",
    "held": "it is held in its lane until somebody decides: see `waypost lanes retry`",
    **REFUSALS,
}


class Wanted(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What was asked for; empty and 0 mean any. Times are when a postback, or a conversion, was made; `until` is where
    the outbox ended when the job began. `status` is a postback's (`delivered`, `failed`), or a conversion's."""

    missing: bool = False
    partner: int = 0
    from_ms: int = 0
    to_ms: int = 0
    status: str = ""
    goal: str = ""
    code: str = ""
    ids: tuple[str, ...] = ()
    until: int = 0


_Place: TypeAlias = tuple[int, int]  # in the outbox, and the lane


class Pick(msgspec.Struct, frozen=True):
    """One that the filters select: its step, or, where there is none, what stands against it (a key of `LEFT`).
    `rules` are (partner, rule) of the postbacks that it comes to."""

    place: int
    id: str
    partner: int
    rules: tuple[tuple[int, int], ...]
    step: Resend | None
    why_not: str = ""


class _Fate(msgspec.Struct):
    """What became of a postback so far, over all its times in the outbox."""

    attempts: dict[int, int] = {}  # by place in the outbox, how many were begun
    codes: set[str] = set()
    first_ms: int = 0
    last: tuple[int, int, str] = (0, 0, "")  # when, where, what came of it
    is_delivered: bool = False

    def add(self, row: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        self.attempts[outcome["seq"]] = max(outcome["attempt"], self.attempts.get(outcome["seq"], 0))
        if outcome["code"]:
            self.codes.add(outcome["code"])
        if outcome["result"] not in _UNTRIED and (not self.first_ms or row["at_ms"] < self.first_ms):
            self.first_ms = row["at_ms"]
        self.is_delivered |= outcome["result"] == SendResult.DELIVERED
        self.last = max(self.last, (row["at_ms"], row["position"], outcome["result"]))

    @property
    def status(self) -> str:
        if self.is_delivered:
            return "delivered"
        return "failed" if self.last[2] in (SendResult.GIVEN_UP, SendResult.DROPPED) else ""


class Tails:
    """What the feeds hold beyond the archive, as rows. Read once; `behind` counts the frames."""

    def __init__(self, sources: ExplainSources) -> None:
        held = sources.archive.positions()
        self.postbacks: list[Row] = []
        self.attempts: list[Row] = []
        self.decisions: list[Row] = []
        self.outbox_held = held.get(OUTBOX, 0)
        self.behind = 0
        by_table = {"postbacks": self.postbacks, "attempts": self.attempts, "decisions": self.decisions}
        for name in sources.feed_names():
            feed = sources.feed(name)
            if feed is None or not (name.startswith("courier-") or name in (LOG, OUTBOX)):
                continue
            self.behind += max(0, feed.head().end - held.get(name, 0))
            for table, row in tail_rows(feed, held.get(name, 0), by_table):
                by_table[table].append(row)


class Again:
    """One look at the stores."""

    def __init__(self, sources: ExplainSources, wanted: Wanted, tails: Tails) -> None:
        self._sources, self._wanted, self._tails = sources, wanted, tails
        self._view = sources.catalogs.open(sources.catalogs.current())
        self._copies: dict[str, list[_Place]] = defaultdict(list)  # those beyond the archive, by id
        for row in tails.postbacks:
            self._copies[row["id"]].append((row["position"], row["lane"]))
        goal = wanted.goal
        self._goals = {row["conversion"] or row["receipt"] for row in tails.decisions if goal and row["goal"] == goal}
        self._versions = set(sources.catalogs.versions())

    def picks(self, job: str, at_ms: int, after: int = -1) -> Iterator[Pick]:
        """All that the filters select beyond the place `after`, in order."""
        for rows in self._blocks(after):
            ids = [row["id"] for row in rows]
            fates, places = self._fates(ids, min(row["created_ms"] for row in rows)), self._places(ids)
            corrected = self._corrected(ids)
            standing = self._standing(places)
            for row in rows:
                fate = fates.get(row["id"], _Fate())
                if self._wanted.status and fate.status != self._wanted.status:
                    continue
                if self._wanted.code and self._wanted.code not in fate.codes:
                    continue
                yield self._pick(row, fate, standing.get(row["id"], ""), row["id"] in corrected, job, at_ms)

    def _pick(self, row: Row, fate: _Fate, state: str, is_corrected: bool, job: str, at_ms: int) -> Pick:
        post = postback_of(row)
        rules = ((post.partner, post.rule),)
        if state or is_corrected:
            return Pick(row["position"], post.id, post.partner, rules, None, state or "corrected")
        found = again(post, self._view, self._then(post.catalog))
        if isinstance(found, str):
            return Pick(row["position"], post.id, post.partner, rules, None, found)
        post.begun, post.first_ms = sum(fate.attempts.values()), fate.first_ms
        step = Resend(at_ms, job, AGAIN, row["position"], postback=post)
        return Pick(row["position"], post.id, post.partner, rules, step)

    def _then(self, version: int) -> Any:
        return self._sources.catalogs.open(version) if version in self._versions else None

    # --- rows ------------------------------------------------------------------------------------------

    def _blocks(self, after: int) -> Iterator[list[Row]]:
        condition, values = self._condition()
        while True:
            rows = self._sources.archive.query(
                f"SELECT * FROM postbacks AS p WHERE position > ? AND position < ? AND {condition}"
                f" ORDER BY position LIMIT {AT_ONCE}",
                [after, min(self._wanted.until, self._tails.outbox_held), *values],
            )
            if not rows:
                break
            yield rows
            after = rows[-1]["position"]
        late = [row for row in self._tails.postbacks if after < row["position"] < self._wanted.until]
        late = [row for row in late if self._is_wanted(row)]
        again_there = self._places([row["id"] for row in late if row["job"]])
        late = [row for row in late if not row["job"] or min(again_there[row["id"]])[0] == row["position"]]
        for at in range(0, len(late), AT_ONCE):
            yield late[at : at + AT_ONCE]

    def _condition(self) -> tuple[str, list[Any]]:
        """Of a postback's first time in the outbox, and of what the filters ask of it."""
        wanted, values = self._wanted, list[Any]()
        parts = [
            "(coalesce(job, '') = '' OR (coalesce(begun, 0) = 0 AND NOT EXISTS"
            " (SELECT 1 FROM postbacks AS q WHERE q.id = p.id AND q.position < p.position)))"
        ]
        for part, value in (
            ("partner = ?", wanted.partner),
            ("created_ms >= ?", wanted.from_ms),
            ("created_ms < ?", wanted.to_ms),
        ):
            if value:
                parts.append(part)
                values.append(value)
        if wanted.ids:
            parts.append("(id IN (SELECT unnest(?)) OR conversion IN (SELECT unnest(?)))")
            values += [list(wanted.ids)] * 2
        else:
            parts.append("NOT test")
        if wanted.goal:
            parts.append(
                "coalesce(nullif(conversion, ''), 'r' || substr(id, 2, 16)) IN (SELECT coalesce(nullif(conversion, ''),"
                " receipt) FROM decisions WHERE goal = ? UNION ALL SELECT unnest(?))"
            )
            values += [wanted.goal, sorted(self._goals)]
        return " AND ".join(parts), values

    def _is_wanted(self, row: Row) -> bool:
        """The same, of a row that is not archived yet."""
        wanted = self._wanted
        if row["job"] and row["begun"]:
            return False
        if wanted.ids:
            if row["id"] not in wanted.ids and row["conversion"] not in wanted.ids:
                return False
        elif row["test"]:
            return False
        return (
            (not wanted.partner or row["partner"] == wanted.partner)
            and wanted.from_ms <= row["created_ms"] < (wanted.to_ms or 1 << 62)
            and (not wanted.goal or self._has_goal(row))
        )

    def _has_goal(self, row: Row) -> bool:
        name = row["conversion"] or f"r{row['id'][1:17]}"  # of a refused call, its receipt
        sql = "SELECT 1 FROM decisions WHERE (conversion = ? OR receipt = ?) AND goal = ? LIMIT 1"
        return name in self._goals or bool(self._sources.archive.query(sql, [name, name, self._wanted.goal]))

    # --- what became of them ---------------------------------------------------------------------------

    def _fates(self, ids: Sequence[str], since_ms: int) -> dict[str, _Fate]:
        fates: dict[str, _Fate] = {}
        rows = self._sources.archive.query(
            "SELECT at_ms, position, o FROM (SELECT at_ms, position, unnest(outcomes) AS o FROM attempts"
            " WHERE at_ms >= ?) WHERE o.id IN (SELECT unnest(?))",
            [since_ms, list(ids)],
        )
        wanted = set(ids)
        for row in rows:
            fates.setdefault(row["o"]["id"], _Fate()).add(row, row["o"])
        for row in self._tails.attempts:
            for outcome in row["outcomes"]:
                if outcome["id"] in wanted:
                    fates.setdefault(outcome["id"], _Fate()).add(row, outcome)
        return fates

    def _places(self, ids: Collection[str]) -> dict[str, list[_Place]]:
        """All places in the outbox of each."""
        found: dict[str, list[_Place]] = defaultdict(list)
        if ids:
            sql = "SELECT id, position, lane FROM postbacks WHERE id IN (SELECT unnest(?))"
            for row in self._sources.archive.query(sql, [list(ids)]):
                found[row["id"]].append((row["position"], row["lane"]))
        for one in ids:
            found[one] += self._copies.get(one, [])
        return found

    def _corrected(self, ids: Sequence[str]) -> set[str]:
        rows = self._sources.archive.query(
            "SELECT corrects FROM postbacks WHERE corrects IN (SELECT unnest(?))", [list(ids)]
        )
        return {row["corrects"] for row in rows} | {row["corrects"] for row in self._tails.postbacks if row["corrects"]}

    def _standing(self, places: Mapping[str, Sequence[_Place]]) -> dict[str, str]:
        """In which state those are that stand in a lane, or in the outbox before it."""
        found: dict[str, str] = {}
        taken: dict[int, int] = {}  # by lane, up to where its courier has the outbox
        for one, all_places in places.items():
            for place, lane in all_places:
                if lane not in taken:
                    shard = self._sources.lane_shard(lane)
                    taken[lane] = shard.outbox_position() if shard is not None else 0
                if place >= taken[lane]:
                    found[one] = "queued"
        known = sorted(place for all_places in places.values() for place, _ in all_places)
        for shard in self._sources.lanes:
            found |= {item.id: _STATES[item.state] for item in shard.at(known)}
        return found


def postback_of(row: Row) -> PostbackOut:
    """The frame that a row was made from. Columns that an older release did not have are empty."""
    return PostbackOut(
        row["id"],
        row["lane"],
        row["partner"],
        row["partition"],
        parse_numbered(row["conversion"], "c") or 0,
        row["catalog"],
        row["rule"],
        row["created_ms"],
        row["accepted_ms"],
        msgspec.json.decode(row["macro_values"], type=dict[str, str]),
        row["test"],
        0,
        bool(row["batched"]),
        row["order_key"] or "",
        row["corrects"] or "",
    )


class Preview(msgspec.Struct):
    """`postbacks` by (partner, rule); `left` by what stands against them."""

    steps: int = 0
    postbacks: Counter[tuple[int, int]] = msgspec.field(default_factory=Counter)
    left: Counter[str] = msgspec.field(default_factory=Counter)
    left_ids: list[str] = []
    first_ids: dict[int, list[str]] = {}


def counted(picks: Iterable[Pick], shown_max: int = 3) -> Preview:
    """What picks come to."""
    preview = Preview()
    for pick in picks:
        if pick.step is None:
            preview.left[pick.why_not] += 1
            if pick.why_not in ("dead", "held") and len(preview.left_ids) < 20:
                preview.left_ids.append(pick.id)
            continue
        preview.steps += 1
        for rule in pick.rules:
            preview.postbacks[rule] += 1
        ids = preview.first_ids.setdefault(pick.partner, [])
        if len(ids) < shown_max:
            ids.append(pick.id)
    return preview
