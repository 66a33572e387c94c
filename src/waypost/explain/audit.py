"""`waypost audit`: proves that accepted = terminal + in flight, and names what is missing.

Owns: the order of the audit, and the comparison of positions over all stores. Reads every store, also while all roles
work; writes nothing and repairs nothing.

What is in motion is never called lost: stores are read from downstream up (`standing.py`), what an engine says of
itself counts only if it says it twice, and an audit under which feeds were trimmed begins again.
"""

from collections.abc import Callable

from waypost.errors import WaypostError
from waypost.explain.audit_clicks import audit_clicks, stored_sums
from waypost.explain.audit_items import ItemAudit
from waypost.explain.audit_ledger import audit_batches, audit_conversions, audit_jobs, audit_outbox, find_cuts
from waypost.explain.report import AuditReport, Counts, Problems
from waypost.explain.sources import LOG, OUTBOX, ExplainSources
from waypost.explain.standing import Standing, read_journals, reading

_TRIES = 3
_KEEPER = "replay"  # a published name without a store: below it nothing is trimmed for a while


def audit(sources: ExplainSources) -> AuditReport:
    """Compares all stores with each other. Never raises for what a store holds or lacks: that is a problem."""
    for last in [False] * (_TRIES - 1) + [True]:
        problems, counts = Problems(), Counts()
        behind: dict[str, int] = {}
        try:
            _engines_agree_with_themselves(sources, problems)
            behind = _compare(sources, problems, counts)
        except WaypostError as error:
            if error.code == "store_gap" and not last:
                continue  # trimmed while it was read
            problems.add_error("audit", error)
        return AuditReport(not problems.total, counts, problems.named, problems.total, behind)
    raise AssertionError("unreachable")


def _engines_agree_with_themselves(sources: ExplainSources, problems: Problems) -> None:
    stores: list[tuple[str, Callable[[], list[str]]]] = [
        ("archive", sources.archive.problems),
        ("catalog", sources.catalogs.problems),
    ]
    for number, shard in enumerate(sources.lanes):
        stores.append((f"lanes {number}", shard.problems))
    if sources.clicks is not None:
        stores.append(("click store", sources.clicks.problems))
    for name in sources.feed_names():
        feed = sources.feed(name)
        if feed is not None:
            stores.append((name if name in (LOG, OUTBOX) else f"journal {name}", feed.problems))
    for store, ask in stores:
        for text in _said_twice(ask):
            problems.add(store, "", text)
    if sources.ledger is not None:
        with sources.ledger.snapshot():
            for text in _said_twice(sources.ledger.problems):
                problems.add("ledger", "", text)


def _said_twice(ask: Callable[[], list[str]]) -> list[str]:
    """An engine's own problems; what a second look does not show again was in motion."""

    def look() -> list[str]:
        try:
            return ask()
        except WaypostError as error:
            return [str(error)]

    found = look()
    if not found:
        return []
    again = set(look())
    return [text for text in found if text in again]


def _compare(sources: ExplainSources, problems: Problems, counts: Counts) -> dict[str, int]:
    """Everything with everything; answers how far the archive is behind."""
    with reading(sources, problems) as standing:
        find_cuts(sources, standing)
        stored = stored_sums(sources)
        if sources.ledger is not None:
            audit_batches(sources, standing, problems, counts)
            audit_conversions(sources, sources.ledger, standing, problems, counts)
            audit_outbox(standing, problems)
            audit_jobs(sources, sources.ledger, standing, problems)
    read_journals(sources, standing, problems)
    _positions_agree(sources, standing, problems)
    audit_clicks(sources, standing, stored, problems)
    ItemAudit(sources, standing, problems, counts).run()
    _catalogs_are_there(sources, standing, problems)
    if not problems.total:
        _sums_are_right(counts, problems)
    return {
        name: head.end - standing.archived.get(name, 0)
        for name, head in sorted(standing.heads.items())
        if head.end > standing.archived.get(name, 0)
    }


def _positions_agree(sources: ExplainSources, standing: Standing, problems: Problems) -> None:
    """No reader stands beyond its feed, no store behind what its reader published, and nothing between archive and
    feed is gone."""
    readers: list[tuple[str, dict[str, int]]] = [
        ("archive", standing.archived),
        ("ledger", standing.ledger_positions),
        ("click store", standing.click_positions),
    ]
    for number, shard in enumerate(standing.shards):
        readers.append((f"lanes {number}", {OUTBOX: shard.outbox_position, **shard.outcome_positions}))
    for store, positions in readers:
        for name, position in sorted(positions.items()):
            head = standing.heads.get(name)
            if head is None:
                if position and not (name in (LOG, OUTBOX) and sources.ledger is None and store == "archive"):
                    problems.add(
                        f"journal {name}", "", f"is gone or unreadable; {store} has read {position} frames of it"
                    )
            elif position > head.end:
                problems.add(name, f"positions {head.end} to {position - 1}", f"are missing: {store} has read them")
    for name, head in sorted(standing.heads.items()):
        held = standing.archived.get(name, 0)
        if head.first > held:
            problems.add(name, f"positions {held} to {head.first - 1}", "are neither in the feed nor in the archive")
    if sources.clicks is None and any(standing.ledger_positions.values()):
        problems.add("click store", "", "is not there, and a pipeline has worked")
    for source, position in sorted(standing.ledger_positions.items()):
        if sources.clicks is not None and standing.click_positions.get(source, 0) < position:
            problems.add("click store", f"position of {source}", f"is behind the ledger's {position}")
    _published_agree(standing, problems)


def _published_agree(standing: Standing, problems: Problems) -> None:
    """What a reader published it has in its store: a store that stands behind has lost something."""
    for name, by_reader in sorted(standing.published.items()):
        for reader, position in sorted(by_reader.items()):
            if reader == _KEEPER:
                continue
            store, stands = _reader_stands(standing, reader, name)
            if stands < position:
                lost = f"{name} positions {stands} to {position - 1}"
                problems.add(store, lost, f"are missing: {reader} had published them")


def _reader_stands(standing: Standing, reader: str, name: str) -> tuple[str, int]:
    """The store in which a reader keeps how far it is, and what that says. A courier is named after its shard, or
    plainly where there is one shard only."""
    if reader == "archivist":
        return "archive", standing.archived.get(name, 0)
    if reader == "pipeline":
        return "ledger", standing.ledger_positions.get(name, 0)
    number = int(reader.rpartition("-")[2]) if reader.rpartition("-")[2].isdigit() else 0
    if number >= len(standing.shards):
        return f"lanes {number}", 0
    shard = standing.shards[number]
    return f"lanes {number}", shard.outbox_position if name == OUTBOX else shard.outcome_positions.get(name, 0)


def _catalogs_are_there(sources: ExplainSources, standing: Standing, problems: Problems) -> None:
    """Every catalog version that a decision was made by is still held."""
    rows = sources.archive.query(
        "SELECT DISTINCT catalog FROM decisions UNION SELECT DISTINCT terms_catalog FROM decisions"
    )
    named = {row["catalog"] for row in rows} | {record.catalog for _, record in standing.tails.batches}
    for version in sorted(named - {0} - set(sources.catalogs.versions())):
        problems.add("catalog", f"version {version}", "was used for decisions, and is not held")


def _sums_are_right(counts: Counts, problems: Problems) -> None:
    """accepted = terminal + in flight, for calls and for postbacks."""
    calls = sum(counts.verdicts.values()) + counts.parked + counts.unread
    if calls != counts.accepted:
        problems.add("ledger", "calls", f"{counts.accepted} were accepted, {calls} are decided, parked or unread")
    gone = counts.delivered + counts.dropped + counts.superseded
    postbacks = gone + counts.queued + counts.in_flight + counts.dead + counts.held + counts.not_taken
    if postbacks != counts.postbacks:
        problems.add("lanes", "postbacks", f"{counts.postbacks} were caused, {postbacks} are accounted for")
