"""Audit of clicks: every recorded click is stored, and every stored click was recorded.

Owns: the comparison of the click store with the journals' click frames, archived or not. Reads; writes nothing.

Both sides are summed up by spans of ten seconds (how many keys, and the sum of the keys as numbers); only spans that
differ are compared key by key, so a million clicks cost one pass over each side.
"""

from waypost.explain.matching import below
from waypost.explain.report import Problems
from waypost.explain.sources import ExplainSources, tail
from waypost.explain.standing import Standing
from waypost.model.frames import Click
from waypost.model.ids import ClickIdCodec, ClickKey

SPAN_MS = 10_000
DAY_MS = 86_400_000
Sums = dict[int, list[int]]  # span → count, sum of packed keys


def stored_sums(sources: ExplainSources) -> Sums:
    """What the click store holds. Read before the journals are, so that each key must be found there."""
    sums: Sums = {}
    for key in sources.clicks.keys() if sources.clicks is not None else ():
        _add(sums, key)
    return sums


def audit_clicks(sources: ExplainSources, standing: Standing, stored: Sums, problems: Problems) -> None:
    """Compares; `stored` is what `stored_sums` answered after `standing.click_positions` were read."""
    clicks = sources.clicks
    if clicks is None:
        return
    dropped_ms = standing.dropped_before * DAY_MS
    recorded = _recorded_sums(sources, standing, dropped_ms)
    extra: dict[ClickKey, None] = {}
    for span in sorted(span for span in stored.keys() | recorded.keys() if stored.get(span) != recorded.get(span)):
        held = set(clicks.keys(span * SPAN_MS, (span + 1) * SPAN_MS))
        wanted, anywhere = _recorded_keys(sources, standing, span)
        for key, route, flags in sorted(wanted):
            if key not in held and key.ms >= dropped_ms:
                text = ClickIdCodec(sources.ring).encode(*key, route, flags)
                problems.add("click store", f"click {text} {_key_text(key)}", "is not stored")
        extra.update(dict.fromkeys(sorted(held - anywhere)))
    for key in _never_recorded(sources, standing, list(extra)):
        problems.add("click store", f"click {_key_text(key)}", "is stored, but no journal recorded it")


def _add(sums: Sums, key: ClickKey) -> None:
    entry = sums.get(key.ms // SPAN_MS)
    number = key.ms << 26 | key.door << 14 | key.seq
    if entry is None:
        sums[key.ms // SPAN_MS] = [1, number]
    else:
        entry[0] += 1
        entry[1] += number


def _limits(standing: Standing) -> dict[str, int]:
    """Archived clicks that the store must have: below its positions."""
    return {
        source: min(position, standing.archived.get(source, 0)) for source, position in standing.click_positions.items()
    }


def _recorded_sums(sources: ExplainSources, standing: Standing, dropped_ms: int) -> Sums:
    rows = sources.archive.query(
        f"SELECT ms // {SPAN_MS} AS span, count(*) AS n, sum(ms::HUGEINT * 67108864 + door * 16384 + seq) AS total"
        f" FROM clicks WHERE kind = 'click' AND ms >= ? AND {below(_limits(standing))} GROUP BY span",
        [dropped_ms],
    )
    sums: Sums = {row["span"]: [row["n"], int(row["total"])] for row in rows}
    for source, clicks in standing.tails.clicks.items():
        position_max = standing.click_positions.get(source, 0)
        for click in clicks:
            if click.position < position_max and click.key.ms >= dropped_ms:
                _add(sums, click.key)
    return sums


def _recorded_keys(
    sources: ExplainSources, standing: Standing, span: int
) -> tuple[set[tuple[ClickKey, int, int]], set[ClickKey]]:
    """Of a span: the clicks that must be stored (with route and flags), and all that are recorded anywhere."""
    rows = sources.archive.query(
        f"SELECT ms, door, seq, route, flags, {below(_limits(standing))} AS wanted FROM clicks"
        f" WHERE kind = 'click' AND ms >= {span * SPAN_MS} AND ms < {(span + 1) * SPAN_MS}"
    )
    wanted = set()
    anywhere = set()
    for row in rows:
        key = ClickKey(row["ms"], row["door"], row["seq"])
        anywhere.add(key)
        if row["wanted"]:
            wanted.add((key, row["route"], row["flags"]))
    for source, clicks in standing.tails.clicks.items():
        for position, key, route, flags in clicks:
            if key.ms // SPAN_MS == span:
                anywhere.add(key)
                if position < standing.click_positions.get(source, 0):
                    wanted.add((key, route, flags))
    return wanted, anywhere


def _never_recorded(sources: ExplainSources, standing: Standing, extra: list[ClickKey]) -> list[ClickKey]:
    """Those that are not in the journals even now: some may have been recorded and stored since they were read."""
    if not extra:
        return []
    recent: set[ClickKey] = set()
    for source in sources.feeds.sources():
        feed = sources.feed(source)
        if feed is not None:
            head = feed.head()
            start = min(max(standing.archived.get(source, 0), head.first), head.end)
            recent |= {
                ClickKey(frame.ms, frame.door, frame.seq) for _, frame in tail(feed, start) if isinstance(frame, Click)
            }
    return [key for key in extra if key not in recent]


def _key_text(key: ClickKey) -> str:
    return f"(ms {key.ms}, door {key.door}, sequence {key.seq})"
