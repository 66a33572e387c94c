"""The search behind a story: from one id to every row that belongs to it.

Owns: which kinds of ids there are, and the order of look-ups. Reads the archive, the feeds' tails beyond it, and the
ledger's parked calls; writes nothing. Never interprets a row.

A row is what `stages/archive_rows.py` makes of a frame, with `feed`; rows of the tails are made in the same way, so
the rest need not know where a row was found.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from waypost.errors import WaypostError
from waypost.explain.sources import LOG, OUTBOX, ExplainSources, tail_rows
from waypost.model.ids import (
    ClickIdCodec,
    ClickKey,
    conversion_text,
    looks_like_click_id,
    parse_numbered,
    parse_postback,
    receipt_text,
)
from waypost.stages.archive_rows import Row, rows_of

_GROWS_MAX = 4  # rounds from conversions to decisions and back: an id leads to all of its conversion in two
_Where = Mapping[str, Collection[Any]]


class Found:
    """Everything that belongs to an id, by table; each row once."""

    def __init__(self) -> None:
        self.kind = ""
        self.clicks: set[ClickKey] = set()
        self.click_texts: dict[ClickKey, str] = {}
        self.rows: dict[str, dict[tuple[str, int], Row]] = {}
        self.undecided: dict[tuple[str, int], tuple[str, int]] = {}  # call → (state, due_ms)

    def add(self, table: str, rows: Iterable[Row]) -> None:
        held = self.rows.setdefault(table, {})
        for row in rows:
            held[row["feed"], row["position"]] = row

    def of(self, table: str) -> list[Row]:
        return list(self.rows.get(table, {}).values())


class Search:
    """One look at all stores. The archive's positions are read first: what is beyond is read from the feeds."""

    def __init__(self, sources: ExplainSources) -> None:
        self._sources = sources
        self._held = sources.archive.positions()
        self.not_archived = {
            name: head.end - self._held.get(name, 0)
            for name in sources.feed_names()
            if (feed := sources.feed(name)) is not None and (head := feed.head()).end > self._held.get(name, 0)
        }

    def find(self, text: str) -> Found:
        """All rows of an id; nothing but a kind if it is unknown."""
        found = Found()
        decisions = self._seed(text, found)
        self._grow(found, decisions)
        self._add_undecided(text, found)
        receipts = {row["receipt"] for row in found.of("decisions")}
        if found.kind in ("receipt", "postback", "conversion"):
            receipts.add("r" + text[1:17])
        found.add("calls", self.rows("calls", {"receipt": receipts}))
        self._add_clicks(found)
        self._add_postbacks(text, found)
        self._add_set_aside(found)
        return found

    def _seed(self, text: str, found: Found) -> dict[str, Collection[Any]]:
        """The kind of id, and by which columns decisions are found by it."""
        number = parse_numbered(text, "r")
        if number is not None:
            found.kind = "receipt"
            return {"receipt": {text}}
        number = parse_numbered(text, "c")
        if number is not None:
            found.kind = "conversion"
            return {"conversion": {text}}
        reference = parse_postback(text)
        if reference is not None:
            # A refused call's postbacks have its receipt's digits, as there is no conversion to name them by.
            found.kind = "postback"
            return {
                "conversion": {conversion_text(reference.conversion)},
                "receipt": {receipt_text(reference.conversion)},
            }
        if looks_like_click_id(text):
            found.kind = "click"
            click_id = ClickIdCodec(self._sources.ring).decode(text)
            if click_id is not None:
                found.clicks.add(click_id.key)
                found.click_texts[click_id.key] = text
                return {"click_ms": {click_id.ms}, "click_id": {text}}
            return {"click_id": {text}, "txn_id": {text}}
        found.kind = "transaction"
        return {"txn_id": {text}}

    def _grow(self, found: Found, where: dict[str, Collection[Any]]) -> None:
        """Decisions, and all other decisions of their conversions."""
        known: set[str] = set()
        clicks = set(found.clicks)
        for _ in range(_GROWS_MAX):
            rows = self.rows("decisions", where)
            if clicks:  # the column that was searched is only the click's time
                rows = [row for row in rows if _click_of(row) in clicks or row["click_id"] in where["click_id"]]
                clicks = set()
            found.add("decisions", rows)
            new = {row["conversion"] for row in found.of("decisions")} - {""} - known
            if not new:
                return
            known |= new
            where = {"conversion": new}

    def _add_undecided(self, text: str, found: Found) -> None:
        """Calls that carry the id and have no decision yet: parked, or not read by the pipeline."""
        ledger = self._sources.ledger
        applied = ledger.positions() if ledger is not None else {}
        for parked in ledger.parked() if ledger is not None else ():
            rows = rows_of(parked.source, parked.position, [parked.call])["calls"]
            if _carries(rows[0], text) or (parked.click_ms, parked.click_door) in {c[:2] for c in found.clicks}:
                rows[0]["feed"] = parked.source
                found.add("calls", rows)
                found.undecided[parked.source, parked.position] = ("parked", parked.due_ms)
        for source in self._sources.feeds.sources():
            start = applied.get(source, 0)
            for row in self._rows_from("calls", source, start, lambda row: _carries(row, text)):
                found.add("calls", [row])
                found.undecided[source, row["position"]] = ("unread", 0)

    def _rows_from(self, table: str, source: str, start: int, match: Callable[[Row], bool]) -> list[Row]:
        held = self._held.get(source, 0)
        rows = []
        if held > start:
            rows = self._sources.archive.query(
                f"SELECT * FROM {table} WHERE feed = ? AND position >= ? AND position < ?", [source, start, held]
            )
        feed = self._sources.feed(source)
        if feed is not None:
            rows += [row for _, row in tail_rows(feed, held, {table: 1}) if row["position"] >= start]
        return [row for row in rows if match(row)]

    def _add_clicks(self, found: Found) -> None:
        for row in found.of("decisions"):
            if row["click_ms"]:
                key = _click_of(row)
                found.clicks.add(key)
                found.click_texts.setdefault(key, row["click_id"])
        codec = ClickIdCodec(self._sources.ring)
        for row in found.of("calls"):
            for value in _values(row):
                click_id = codec.decode(value) if looks_like_click_id(value) else None
                if click_id is not None:
                    found.clicks.add(click_id.key)
                    found.click_texts.setdefault(click_id.key, value)
        rows = self.rows("clicks", {"ms": {key.ms for key in found.clicks}})
        found.add("clicks", [row for row in rows if ClickKey(row["ms"], row["door"], row["seq"]) in found.clicks])

    def _add_postbacks(self, text: str, found: Found) -> None:
        ids = {rule["postback"] for row in found.of("decisions") for rule in row["rules"]} - {""}
        if found.kind == "postback":
            ids.add(text)
        told = {row["conversion"] for row in found.of("decisions")} - {""}  # of it a job of resends may have told more
        found.add("postbacks", self.rows("postbacks", {"id": ids, "conversion": told}))
        ids |= {row["id"] for row in found.of("postbacks")}
        found.add("attempts", self._attempts(ids))

    def _attempts(self, ids: Collection[str]) -> list[Row]:
        if not ids:
            return []
        rows = self._sources.archive.query(
            "SELECT * FROM attempts WHERE list_has_any([o.id for o in outcomes], ?)", [list(ids)]
        )
        for source in self._sources.feeds.sources():
            feed = self._sources.feed(source)
            if feed is not None:
                for _, row in tail_rows(feed, self._held.get(source, 0), {"attempts": 1}):
                    if any(outcome["id"] in ids for outcome in row["outcomes"]):
                        rows.append(row)
        return rows

    def _add_set_aside(self, found: Found) -> None:
        """Frames set aside that stand where a call of this story stood."""
        places = {(row["source"], row["source_position"]) for row in found.of("decisions")} | set(found.undecided)
        positions = {position for _, position in places}
        rows = self.rows("set_aside", {"source_position": positions})
        found.add("set_aside", [row for row in rows if (row["source"], row["source_position"]) in places])

    def rows(self, table: str, where: _Where) -> list[Row]:
        """Rows in which any of the columns has one of its values, from the archive and from the tails."""
        wanted = {column: set(values) for column, values in where.items() if values}
        if not wanted:
            return []
        condition = " OR ".join(f'"{column}" IN ({", ".join("?" * len(values))})' for column, values in wanted.items())
        rows = self._sources.archive.query(
            f"SELECT * FROM {table} WHERE {condition}", [value for values in wanted.values() for value in values]
        )
        for name in self._feeds_of(table):
            feed = self._sources.feed(name)
            if feed is not None:
                for _, row in tail_rows(feed, self._held.get(name, 0), {table: 1}):
                    if any(row[column] in values for column, values in wanted.items()):
                        rows.append(row)
        return rows

    def _feeds_of(self, table: str) -> list[str]:
        if table in ("decisions", "batches"):
            return [LOG]
        if table == "postbacks":
            return [OUTBOX]
        return [*self._sources.feeds.sources(), *((LOG,) if table == "set_aside" else ())]


def retried(sources: ExplainSources, text: str) -> tuple[Search, Found]:
    """A search; begun again if feeds were trimmed under it."""
    for last in (False, False, True):
        try:
            search = Search(sources)
            return search, search.find(text)
        except WaypostError as error:
            if last or error.code != "store_gap":
                raise
    raise AssertionError("unreachable")


def _click_of(row: Row) -> ClickKey:
    return ClickKey(row["click_ms"], row["click_door"], row["click_seq"])


def _values(row: Row) -> list[str]:
    """The values that a call carries, roughly: enough to recognise an id."""
    text = row["query"].decode("utf-8", "replace") + "&" + row["body"].decode("utf-8", "replace")
    for mark in ('"', ",", "{", "}", ":", " "):
        text = text.replace(mark, "&")
    return [unquote_plus(piece.rpartition("=")[2]) for piece in text.split("&")]


def _carries(row: Row, text: str) -> bool:
    return bool(row["receipt"] == text or text in _values(row))
