"""Audit of the ledger: batch records chain from 0, conversions and caps are what the decisions made of them.

Owns: these comparisons, all within one snapshot of the ledger. Reads the ledger, its log and the archive; writes
nothing.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from waypost.explain.matching import below
from waypost.explain.report import Counts, Problems
from waypost.explain.sources import LOG, OUTBOX, ExplainSources
from waypost.explain.standing import Standing, TailDecision
from waypost.model.frames import Conversion, Verdict
from waypost.model.ids import conversion_text
from waypost.ports.ledger import Ledger

_AT_ONCE = 20_000  # conversions compared at once


def find_cuts(sources: ExplainSources, standing: Standing) -> None:
    """Where the log and the outbox ended at the ledger's snapshot: what came later is left out of comparisons."""
    held = standing.archived.get(LOG, 0)
    later = [position for position, record in standing.tails.batches if record.batch >= standing.next_batch]
    rows = sources.archive.query(
        f"SELECT min(position) AS cut FROM batches WHERE batch >= ? AND {below({LOG: held})}", [standing.next_batch]
    )
    end = max(standing.heads[LOG].end if LOG in standing.heads else 0, held)
    standing.cut = rows[0]["cut"] if rows[0]["cut"] is not None else min([end, *later])
    rows = sources.archive.query(
        f"SELECT coalesce(sum(postbacks), 0) AS n FROM batches WHERE {below({LOG: min(held, standing.cut)})}"
    )
    standing.outbox_cut = int(rows[0]["n"]) + sum(
        record.postbacks for position, record in standing.tails.batches if position < standing.cut
    )


def audit_batches(sources: ExplainSources, standing: Standing, problems: Problems, counts: Counts) -> None:
    """Batches are numbered without gaps, each takes every journal on from where the last one left it, and the last
    leaves it where the ledger stands."""
    limit = below({LOG: min(standing.archived.get(LOG, 0), standing.cut)})
    expected, ends, parked = _archived_chain(sources, limit, problems)
    decisions = 0
    for position, record in standing.tails.batches:
        if position >= standing.cut:
            break
        if record.batch != expected:
            problems.add(LOG, f"batch {expected}", f"is missing: batch {record.batch} stands at position {position}")
        expected = record.batch + 1
        parked += record.parked - record.released
        decisions += record.decisions
        for taken in record.ranges:
            if taken.start != ends.get(taken.source, 0):
                problems.add(LOG, f"batch {record.batch}", _chain_text(taken.source, taken.start, ends))
            ends[taken.source] = taken.end
    counts.batches = expected - 1
    if expected != standing.next_batch:
        problems.add(LOG, f"batch {expected}", f"is missing: the ledger's next batch is {standing.next_batch}")
    for source in sorted(ends.keys() | standing.ledger_positions.keys()):
        stands = standing.ledger_positions.get(source)
        if stands != ends.get(source, 0):
            where = f"stands at {stands}" if stands is not None else "has lost its position"
            problems.add("ledger", f"position of {source}", f"{where}, the last batch ended at {ends.get(source, 0)}")
    if parked != len(standing.parked):
        problems.add("ledger", "parked calls", f"{parked} are to be parked by the batches, {len(standing.parked)} are")
    seen = sum(one.position < standing.cut for one in standing.tails.decisions)
    if seen != decisions:
        problems.add(LOG, "decisions", f"the unarchived batches announce {decisions}, {seen} are there")


def _archived_chain(sources: ExplainSources, limit: str, problems: Problems) -> tuple[int, dict[str, int], int]:
    """The next batch's number, where each journal was left, and how many calls are parked, as archived batches say."""
    query = sources.archive.query
    for row in query(
        f"SELECT * FROM (SELECT batch, position, lag(batch, 1, 0) OVER (ORDER BY position) AS before FROM batches"
        f" WHERE {limit}) WHERE batch <> before + 1"
    ):
        problems.add(LOG, f"batch {row['before'] + 1}", f"is missing: batch {row['batch']} follows {row['before']}")
    taken = f"SELECT batch, unnest(ranges) AS r FROM batches WHERE {limit}"
    for gap in query(
        "SELECT * FROM (SELECT batch, r.source AS source, r.start_position AS start,"
        " lag(r.end_position, 1, 0) OVER (PARTITION BY r.source ORDER BY batch) AS before"
        f" FROM ({taken})) WHERE start <> before"
    ):
        before = {gap["source"]: gap["before"]}
        problems.add(LOG, f"batch {gap['batch']}", _chain_text(gap["source"], gap["start"], before))
    last = query(f"SELECT r.source AS source, max(r.end_position) AS position FROM ({taken}) GROUP BY ALL")
    ends = {row["source"]: row["position"] for row in last}
    sums = query(f"SELECT max(batch) AS last, sum(parked) - sum(released) AS parked FROM batches WHERE {limit}")[0]
    return (sums["last"] or 0) + 1, ends, int(sums["parked"] or 0)


def _chain_text(source: str, start: int, ends: dict[str, int]) -> str:
    return f"takes {source} from {start}, the one before it ended at {ends.get(source, 0)}"


def audit_conversions(
    sources: ExplainSources, ledger: Ledger, standing: Standing, problems: Problems, counts: Counts
) -> None:
    """Each conversion has the decision that made it and the status of its last; each such decision its conversion.
    Then the caps' counters against what the conversions use."""
    decided = _Decided(sources, standing)
    used: Counter[str] = Counter()
    low = ""
    for chunk, high in _chunks(ledger):
        counts.conversions += len(chunk)
        held = {conversion_text(one.receipt): one for one in chunk}
        for one in chunk:
            for key, counted in one.caps:
                used[key] += counted
        found = decided.between(low, high)
        for text in sorted(held.keys() | found.keys()):
            _compare(text, held.get(text), found.get(text), problems)
        low = high
    caps = ledger.caps()
    for cap in sorted(used.keys() | caps.keys()):
        if used[cap] != caps.get(cap, 0):
            counter = f"counts {caps[cap]}" if cap in caps else "is missing"
            problems.add("ledger", f"cap {cap}", f"{counter}, conversions use {used[cap]}")


def _chunks(ledger: Ledger) -> Iterator[tuple[list[Conversion], str]]:
    """Runs of conversions, each with the text that its ids and those before the next run lie below."""
    chunk: list[Conversion] = []
    for conversion in ledger.conversions():
        if len(chunk) == _AT_ONCE:
            yield chunk, conversion_text(conversion.receipt)
            chunk = []
        chunk.append(conversion)
    yield chunk, "d"


def _compare(text: str, held: Conversion | None, found: tuple[str, bool] | None, problems: Problems) -> None:
    if held is None:
        problems.add("ledger", f"conversion {text}", "was decided, and is not in the ledger")
    elif found is None or not found[1]:
        problems.add(LOG, f"conversion {text}", "is in the ledger, and no decision made it")
    elif found[0] != held.status:
        problems.add("ledger", f"conversion {text}", f"is {held.status}, its last decision said {found[0]}")


class _Decided:
    """Conversions as decisions made them: id → (last status, whether one was `new`)."""

    def __init__(self, sources: ExplainSources, standing: Standing) -> None:
        self._archive = sources.archive
        self._limit = below({LOG: min(standing.archived.get(LOG, 0), standing.cut)})
        self._tail: dict[str, list[TailDecision]] = {}
        for one in standing.tails.decisions:
            if one.position < standing.cut and one.verdict in (Verdict.NEW, Verdict.UPDATED):
                self._tail.setdefault(one.conversion, []).append(one)
        self._tail_ids = sorted(self._tail)

    def between(self, low: str, high: str) -> dict[str, tuple[str, bool]]:
        """Those whose ids lie in [low, high)."""
        rows = self._archive.query(
            "SELECT conversion, arg_max(status, position) AS status, bool_or(verdict = 'new') AS is_new FROM decisions"
            " WHERE verdict IN ('new', 'updated')"
            f" AND conversion >= ? AND conversion < ? AND {self._limit} GROUP BY conversion",
            [low, high],
        )
        found = {row["conversion"]: (row["status"], row["is_new"]) for row in rows}
        for text in self._tail_ids[bisect_left(self._tail_ids, low) : bisect_left(self._tail_ids, high)]:
            decisions = self._tail[text]
            is_new = any(one.verdict == Verdict.NEW for one in decisions)
            found[text] = (decisions[-1].status, is_new or found.get(text, ("", False))[1])
        return found


def audit_outbox(standing: Standing, problems: Problems) -> None:
    """The outbox ends no earlier than the batches say."""
    end = max(standing.heads[OUTBOX].end if OUTBOX in standing.heads else 0, standing.archived.get(OUTBOX, 0))
    if end < standing.outbox_cut:
        problems.add(
            OUTBOX, f"positions {end} to {standing.outbox_cut - 1}", "were written by batches, and are missing"
        )


def audit_jobs(sources: ExplainSources, ledger: Ledger, standing: Standing, problems: Problems) -> None:
    """Of each job of resends as many postbacks are in the outbox as the ledger says that it put there."""
    limit = below({OUTBOX: min(standing.archived.get(OUTBOX, 0), standing.outbox_cut)})
    rows = sources.archive.query(
        f"SELECT job, count(*) AS n FROM postbacks WHERE coalesce(job, '') <> '' AND {limit} GROUP BY job"
    )
    found = Counter({row["job"]: row["n"] for row in rows})
    found.update(job for position, job in standing.tails.resent.items() if position < standing.outbox_cut)
    jobs = ledger.jobs()
    for name in sorted(jobs.keys() | found.keys()):
        added = jobs[name].added if name in jobs else 0
        if added != found[name]:
            problems.add("ledger", f"resend {name}", f"put {added} postbacks into the outbox, {found[name]} are there")
