"""Audit of items: each accepted call decided or waiting, each postback in exactly one place.

Owns: which items must have which counterparts. Reads the archive and the tails that `standing.py` holds; adds to the
report's counts and problems. Writes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from waypost.explain.matching import Items, archived, below, unmatched
from waypost.explain.report import Counts, Problems
from waypost.explain.sources import LOG, OUTBOX, ExplainSources
from waypost.explain.standing import ENDED, WITHOUT_ATTEMPT, ShardStanding, Standing
from waypost.model.frames import SendResult, Verdict
from waypost.ports.lanes import ItemState
from waypost.stages.rules import HELD_BACK

PLACE = {"source": "VARCHAR", "place": "BIGINT"}
ID = {"id": "VARCHAR"}
SEQ = {"seq": "BIGINT"}
SEQ_AND_ID = {"seq": "BIGINT", "id": "VARCHAR"}

_DECIDED = "SELECT source, source_position AS place, receipt AS label FROM decisions WHERE {window}"
_CAUSED = (
    "SELECT rule.postback AS id, receipt AS label FROM"
    " (SELECT unnest(rules) AS rule, receipt FROM decisions WHERE {window}) WHERE rule.postback <> ''"
)
_OUTCOMES = (
    "SELECT outcome.seq AS seq, outcome.id AS id, outcome.result AS result, feed AS label FROM"
    " (SELECT unnest(outcomes) AS outcome, feed FROM attempts WHERE {window})"
)


class ItemAudit:
    """One comparison of all items; `standing` has its journals read."""

    def __init__(self, sources: ExplainSources, standing: Standing, problems: Problems, counts: Counts) -> None:
        self._archive = sources.archive
        self._standing = standing
        self._tails = standing.tails
        self._problems = problems
        self._counts = counts
        self._end = max([0, *standing.archived.values()]) + 1
        self._decided_tail = {one.judged: one.receipt for one in self._tails.decisions}
        self._log_limit = {LOG: min(standing.archived.get(LOG, 0), standing.cut)}
        self._outbox_limit = {OUTBOX: min(standing.archived.get(OUTBOX, 0), standing.outbox_cut)}

    def run(self) -> None:
        self._count_touches()
        self._calls_are_decided()
        self._decisions_have_calls()
        self._nothing_is_decided_twice()
        self._postbacks_are_caused()
        self._attempts_have_postbacks()
        self._postbacks_are_in_one_place()

    # --- clicks and calls ------------------------------------------------------------------------------

    def _count_touches(self) -> None:
        counts, tails = self._counts, self._tails
        for row in self._rows(f"SELECT kind, count(*) AS n FROM clicks WHERE {self._held()} GROUP BY kind"):
            if row["kind"] == "click":
                counts.clicks += row["n"]
            else:
                counts.impressions += row["n"]
        counts.clicks += sum(len(clicks) for clicks in tails.clicks.values())
        counts.impressions += tails.impressions
        counts.attempts = tails.attempts + self._count(
            f"attempts WHERE {self._held()} AND (method <> '' OR code <> '')"
            f" AND outcomes[1].result NOT IN ({_listed(WITHOUT_ATTEMPT)})"
        )
        accepted = _accepted(self._held()).format(window="true")
        counts.accepted = len(tails.accepted) + self._count(f"({accepted})")
        log = below(self._log_limit)
        verdicts = Counter(one.verdict for one in tails.decisions if one.position < self._standing.cut)
        for row in self._rows(f"SELECT verdict, count(*) AS n FROM decisions WHERE {log} GROUP BY verdict"):
            verdicts[row["verdict"]] += row["n"]
        held_back = self._rows(
            "SELECT count(*) AS n FROM (SELECT unnest(rules) AS rule FROM decisions WHERE"
            f" {log}) WHERE starts_with(rule.stopped_by, '{HELD_BACK}')"
        )
        counts.held_back = held_back[0]["n"] + sum(
            one.held_back for one in self._tails.decisions if one.position < self._standing.cut
        )
        counts.verdicts = {verdict.value: verdicts[verdict.value] for verdict in Verdict}

    def _calls_are_decided(self) -> None:
        """Accepted calls that the ledger has read are decided or parked; the others are unread."""
        applied = self._standing.ledger_positions
        parked = self._standing.parked
        counts = self._counts
        left = Items(_accepted(self._held()), self._tails.accepted)
        right = Items(f"{_DECIDED} AND {below(self._log_limit)}", self._decided_before_cut())
        for place, receipt in unmatched(self._archive, left, right, PLACE, self._end):
            if place in parked:
                counts.parked += 1
            elif place[1] >= applied.get(place[0], 0):
                counts.unread += 1
            else:
                self._problems.add(
                    "ledger", _call_text(receipt, place), "was accepted, and is neither decided nor parked"
                )

    def _decisions_have_calls(self) -> None:
        accepted = Items(_accepted("true"), self._tails.accepted)
        left = Items(_DECIDED + f" AND {below(self._log_limit)}", self._decided_before_cut())
        for place, receipt in unmatched(self._archive, left, accepted, PLACE, self._end):
            self._problems.add(f"journal {place[0]}", _call_text(receipt, place), "is decided, and in no journal")
        for place, receipt in unmatched(
            self._archive, Items(_nothing(PLACE), self._standing.parked), accepted, PLACE, 0
        ):
            self._problems.add(f"journal {place[0]}", _call_text(receipt, place), "is parked, and in no journal")

    def _decided_before_cut(self) -> dict[tuple[str, int], str]:
        return {one.judged: one.receipt for one in self._tails.decisions if one.position < self._standing.cut}

    def _nothing_is_decided_twice(self) -> None:
        limit = below(self._log_limit)
        twice = [
            ((row["source"], row["place"]), row["label"])
            for row in self._rows(
                "SELECT source, source_position AS place, any_value(receipt) AS label FROM decisions"
                f" WHERE {limit} GROUP BY ALL HAVING count(*) > 1"
            )
        ]
        tail = [one for one in self._tails.decisions if one.position < self._standing.cut]
        times = Counter(one.judged for one in tail)
        twice += [(one.judged, one.receipt) for one in tail if times[one.judged] > 1]
        held = Items(_DECIDED + f" AND {limit}", {})
        if tail:
            known = archived(self._archive, list(times), held, PLACE)
            twice += [(place, self._decided_tail[place]) for place in known]
        decided_parked = set(self._standing.parked) & self._decided_before_cut().keys()
        if self._standing.parked:
            decided_parked |= archived(self._archive, list(self._standing.parked), held, PLACE)
        for place, receipt in twice:
            self._problems.add("ledger", _call_text(receipt, place), "is decided twice")
        for place in decided_parked:
            self._problems.add("ledger", _call_text(self._standing.parked[place], place), "is decided and parked")

    # --- postbacks -------------------------------------------------------------------------------------

    def _postbacks_are_caused(self) -> None:
        """Each postback that a decision names is in the outbox, and each there was caused by a decision, or put there
        by a job of resends (`audit_ledger.audit_jobs` counts these)."""
        cut, outbox_cut = self._standing.cut, self._standing.outbox_cut
        caused = {postback: one.receipt for one in self._tails.decisions for postback in one.postbacks}
        caused_before_cut = {
            postback: one.receipt for one in self._tails.decisions if one.position < cut for postback in one.postbacks
        }
        outbox = {id: "" for id, _ in self._tails.postbacks.values()}
        resent = self._tails.resent
        outbox_before_cut = {
            id: "" for seq, (id, _) in self._tails.postbacks.items() if seq < outbox_cut and seq not in resent
        }
        left = Items(_CAUSED.format(window="{window} AND " + below(self._log_limit)), caused_before_cut)
        right = Items("SELECT id, '' AS label FROM postbacks WHERE {window}", outbox)
        for id, receipt in unmatched(self._archive, left, right, ID, self._end):
            self._problems.add("outbox", f"postback {id}", f"was caused by call {receipt}, and is not in the outbox")
        left = Items(
            "SELECT id, '' AS label FROM postbacks WHERE {window} AND coalesce(job, '') = ''"
            f" AND {below(self._outbox_limit)}",
            outbox_before_cut,
        )
        for id, _ in unmatched(self._archive, left, Items(_CAUSED, caused), ID, self._end):
            self._problems.add("ledger-log", f"postback {id}", "is in the outbox, and no decision caused it")

    def _attempts_have_postbacks(self) -> None:
        """Each outcome, and each item of a lane, is of a postback in the outbox, at its place."""
        outbox = Items(
            "SELECT position AS seq, id FROM postbacks WHERE {window}",
            {(seq, id): "" for seq, (id, _) in self._tails.postbacks.items()},
        )
        end = self._standing.heads[OUTBOX].end if OUTBOX in self._standing.heads else 0
        end = max(end, self._standing.archived.get(OUTBOX, 0))
        left = Items(
            f"SELECT seq, id, label FROM ({_OUTCOMES}) WHERE seq < {end}",
            {key: place[0] for key, place in self._tails.outcomes.items() if key[0] < end},
        )
        for (_, id), source in unmatched(self._archive, left, outbox, SEQ_AND_ID, self._end):
            self._problems.add(
                "outbox", f"postback {id}", f"has an attempt in journal {source}, and is not in the outbox"
            )
        held = {(seq, item.id): "" for shard in self._standing.shards for seq, item in shard.items.items()}
        for (seq, id), _ in unmatched(self._archive, Items(_nothing(SEQ_AND_ID), held), outbox, SEQ_AND_ID, 0):
            self._problems.add(
                "outbox", f"postback {id}", f"is in a lane as outbox position {seq}, and not in the outbox"
            )

    def _postbacks_are_in_one_place(self) -> None:
        """Delivered, dropped or superseded, or in a lane, or not taken yet."""
        standing, counts = self._standing, self._counts
        counts.postbacks = self._count(f"postbacks WHERE {below(self._outbox_limit)}")
        counts.postbacks += sum(seq < standing.outbox_cut for seq in self._tails.postbacks)
        ended = Items(
            f"SELECT seq, label FROM ({_OUTCOMES}) WHERE result IN ({_listed(ENDED)})",
            dict.fromkeys(self._tails.ended, ""),
        )
        left = Items(
            "SELECT position AS seq, lane || '/' || id AS label FROM postbacks"
            f" WHERE {{window}} AND {below(self._outbox_limit)}",
            {seq: f"{lane}/{id}" for seq, (id, lane) in self._tails.postbacks.items() if seq < standing.outbox_cut},
        )
        standing_count = 0
        for seq, label in unmatched(self._archive, left, ended, SEQ, self._end):
            lane, _, id = label.partition("/")
            standing_count += 1
            shard = self._shard(int(lane))
            item = shard.items.get(seq) if shard is not None else None
            if item is not None:
                counts.queued += item.state is ItemState.QUEUED
                counts.in_flight += item.state is ItemState.IN_FLIGHT
                counts.dead += item.state is ItemState.DEAD
                counts.held += item.state is ItemState.HELD
            elif shard is None or seq >= shard.outbox_position:
                counts.not_taken += 1
            else:
                self._problems.add(
                    "lanes",
                    f"postback {id}",
                    f"(outbox position {seq}) was taken, and is neither in lane {lane} nor delivered",
                )
        counts.dropped = self._count_ended(SendResult.DROPPED)
        counts.superseded = self._count_ended(SendResult.SUPERSEDED)
        counts.delivered = counts.postbacks - standing_count - counts.dropped - counts.superseded

    def _count_ended(self, result: SendResult) -> int:
        """Places in the outbox whose item ended so, each counted once."""
        cut = self._standing.outbox_cut
        tail = {seq for seq, how in self._tails.ended.items() if how is result and seq < cut}
        outcomes = _OUTCOMES.format(window="true")
        found = self._count(f"(SELECT DISTINCT seq FROM ({outcomes}) WHERE result = '{result}' AND seq < {cut})")
        if found and tail:  # after an append that seemed to fail, an outcome is there twice
            side = Items(f"SELECT seq, label FROM ({_OUTCOMES}) WHERE result = '{result}'", {})
            tail -= archived(self._archive, list(tail), side, SEQ)
        return found + len(tail)

    def _shard(self, lane: int) -> ShardStanding | None:
        return next((shard for shard in self._standing.shards if shard.lanes.owns(lane)), None)

    # --- reading ---------------------------------------------------------------------------------------

    def _held(self) -> str:
        """SQL: rows that were archived when the audit began; the tails begin behind them."""
        return below(self._standing.archived)

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._archive.query(sql)

    def _count(self, from_sql: str) -> int:
        return int(self._archive.query(f"SELECT count(*) AS n FROM {from_sql}")[0]["n"])


def _listed(results: Sequence[SendResult]) -> str:
    return ", ".join(f"'{result}'" for result in results)


def _accepted(condition: str) -> str:
    """SQL: archived calls, and frames of journals that could not be decoded: these are accepted items too."""
    return (
        f"SELECT feed AS source, position AS place, receipt AS label FROM calls WHERE {{window}} AND {condition}"
        " UNION ALL SELECT feed, position, 'unreadable' FROM set_aside"
        f" WHERE {{window}} AND {condition} AND source = feed AND code = 'unreadable_frame'"
        f" AND feed NOT IN ('{LOG}', '{OUTBOX}')"
    )


def _nothing(columns: Mapping[str, str]) -> str:
    """SQL: no rows; for a side that has only a tail."""
    return (
        "SELECT " + ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items()) + ", '' AS label WHERE false"
    )


def _call_text(receipt: str, place: tuple[str, int]) -> str:
    return f"call {receipt} ({place[0]} position {place[1]})"
