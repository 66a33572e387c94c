"""Jobs of resends as operators see them: what was asked, how far each is, what became of its postbacks.

Owns: these counts. Reads the ledger, the operator's journal beyond it, the archive and what feeds hold beyond that;
writes nothing.
"""

from collections import Counter

import msgspec

from waypost.explain.resends import Tails, Wanted
from waypost.explain.sources import ExplainSources, tail
from waypost.model.frames import Resend, ResendJob, SendResult
from waypost.stages.resends import ADDED, BEGIN, CANCEL, CANCELLED, END

OPERATOR = "operator"


class JobRow(msgspec.Struct):
    """`written` steps lie in the journal and are not taken yet; `waiting` neither arrived nor failed for good."""

    id: str
    state: str
    at_ms: int
    by: str
    wanted: Wanted
    every_us: int
    last: int  # the place of the last step that is written or taken
    added: int = 0
    written: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0
    refused: dict[str, int] = {}
    why: str = ""


def jobs(sources: ExplainSources) -> dict[str, JobRow]:
    """All jobs, those included of which the pipeline has not read yet; without what became of their postbacks."""
    ledger = sources.ledger
    rows = {job.id: _row(job) for job in ledger.jobs().values()} if ledger is not None else {}
    feed = sources.feed(OPERATOR)
    if feed is None:
        return rows
    position = ledger.positions().get(OPERATOR, 0) if ledger is not None else 0
    for _, frame in tail(feed, max(position, feed.head().first)):
        if not isinstance(frame, Resend):
            continue
        if frame.kind == BEGIN:
            job = ResendJob(frame.job, frame.at_ms, frame.by, frame.text, frame.every_us, state="adding")
            rows.setdefault(frame.job, _row(job))
        row = rows.get(frame.job)
        if row is None or frame.kind == BEGIN:
            continue
        if frame.kind == CANCEL:
            row.state, row.why = CANCELLED, frame.text
        elif frame.kind == END:
            row.state = ADDED if row.state != CANCELLED else row.state
        elif frame.place > row.last:
            row.last = frame.place
            row.written += 1
    return rows


def count(sources: ExplainSources, rows: dict[str, JobRow]) -> None:
    """Adds what became of the jobs' postbacks: by their last outcomes, and by what stands in lanes as dead."""
    if not rows:
        return
    tails = Tails(sources)
    since_ms = min(row.at_ms for row in rows.values())
    results: Counter[tuple[str, str]] = Counter()
    last = (
        "SELECT o.seq AS seq, arg_max(o.result, (at_ms, position)) AS result FROM"
        " (SELECT at_ms, position, unnest(outcomes) AS o FROM attempts WHERE at_ms >= ?) GROUP BY o.seq"
    )
    for row in sources.archive.query(
        f"SELECT p.job AS job, a.result AS result, count(*) AS n FROM postbacks AS p JOIN ({last}) AS a"
        " ON a.seq = p.position WHERE p.job <> '' GROUP BY ALL",
        [since_ms],
    ):
        results[row["job"], row["result"]] += row["n"]
    newer = {one["seq"]: one["result"] for row in tails.attempts for one in row["outcomes"]}
    job_of = {row["position"]: row["job"] for row in tails.postbacks if row["job"]}
    if newer:
        found = sources.archive.query(
            "SELECT p.position AS position, p.job AS job, a.result AS result FROM postbacks AS p"
            f" LEFT JOIN ({last}) AS a ON a.seq = p.position"
            " WHERE p.job <> '' AND p.position IN (SELECT unnest(?))",
            [since_ms, list(newer)],
        )
        for row in found:
            job_of[row["position"]] = row["job"]
            if row["result"]:
                results[row["job"], row["result"]] -= 1
    for place, result in newer.items():
        if place in job_of:
            results[job_of[place], result] += 1
    for row_of in rows.values():
        row_of.delivered = results[row_of.id, SendResult.DELIVERED]
        row_of.failed = results[row_of.id, SendResult.GIVEN_UP]
        row_of.dropped = results[row_of.id, SendResult.DROPPED] + results[row_of.id, SendResult.SUPERSEDED]
        row_of.waiting = max(0, row_of.added - row_of.delivered - row_of.failed - row_of.dropped)


def lanes_of(sources: ExplainSources, job: str) -> list[int]:
    """The lanes that have, or had, postbacks of a job."""
    found = {row["lane"] for row in Tails(sources).postbacks if row["job"] == job}
    found |= {row["lane"] for row in sources.archive.query("SELECT DISTINCT lane FROM postbacks WHERE job = ?", [job])}
    return sorted(found)


def _row(job: ResendJob) -> JobRow:
    try:
        wanted = msgspec.json.decode(job.text or "{}", type=Wanted)
    except msgspec.DecodeError:  # a later release asked for something else
        wanted = Wanted()
    return JobRow(
        job.id, job.state, job.at_ms, job.by, wanted, job.every_us, job.taken, job.added, refused=dict(job.refused),
        why=job.why,
    )  # fmt: skip
