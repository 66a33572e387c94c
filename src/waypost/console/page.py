"""The page: a status as HTML, whole and self-contained; the browser asks for it again every two seconds.

Owns: the page's shape; its style is `style.css` beside this file. Pure: the status comes as an argument.
Never puts in a name that is not escaped, and loads nothing from elsewhere.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib import resources

from waypost import __version__
from waypost.console.status import LaneStatus, RoleStatus, Status

REFRESH_S = 2
_LANES_SHOWN_MAX = 50
_LANE_WORDS = ("state", "why", "breaker", "held_by", "held_until_ms", "rate_per_s")

# (metric, title, what the total counts)
_CURVES = (
    ("door_clicks", "Clicks", "redirected"),
    ("door_postbacks", "Postbacks in", "accepted"),
    ("pipeline_calls", "Calls judged", "judged"),
    ("courier_delivered", "Postbacks out", "delivered"),
)
# (title, [(metric, text)])
_LISTS = (
    (
        "Doors",
        [
            ("door_requests", "requests"),
            ("door_refused", "refused (4xx)"),
            ("door_unavailable", "not available (503)"),
            ("door_clicks_unrecorded", "clicks unrecorded"),
            ("door_connections", "open connections"),
        ],
    ),
    (
        "Pipeline",
        [
            ("pipeline_new", "new"),
            ("pipeline_updated", "updated"),
            ("pipeline_duplicates", "duplicates"),
            ("pipeline_refused", "refused"),
            ("pipeline_set_aside", "set aside"),
            ("pipeline_held_back", "postbacks left out by percentages"),
            ("pipeline_parked", "waiting for their click"),
            ("pipeline_lag_frames", "frames not read yet"),
        ],
    ),
    (
        "Courier",
        [
            ("courier_queued", "queued"),
            ("courier_in_flight", "in flight"),
            ("courier_retries", "attempts to be repeated"),
            ("courier_given_up", "given up"),
            ("courier_dead", "dead letters"),
            ("courier_held", "held until you decide"),
            ("courier_lanes_paused", "lanes paused"),
            ("courier_latency_p50_ms", "latency p50, ms"),
            ("courier_latency_p99_ms", "latency p99, ms"),
        ],
    ),
    (
        "Archive",
        [
            ("archive_rows", "rows"),
            ("archive_segments", "segments written"),
            ("archive_compacted", "segments merged"),
            ("archive_lag_frames", "frames not archived yet"),
        ],
    ),
)


def render_page(status: Status) -> str:
    """The page as HTML text."""
    pill = _pill("all well", "good") if status.ok else _pill("degraded", "bad")
    if status.catalog:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in status.catalog_counts.items())
        catalog = f"catalog version {status.catalog}" + (f" ({counts})" if counts else "")
    else:
        catalog = "no catalog"
    at = datetime.fromtimestamp(status.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts = [
        f"<header><h1>Waypost</h1>{pill}<span class=meta>{escape(catalog)}</span></header>",
        _errors(status.catalog_errors),
        f"<div class=grid>{''.join(_curve(status, *curve) for curve in _CURVES)}</div>",
        f"<section class='card wide'><h2>Roles</h2>{_roles(status.roles)}</section>",
        f"<div class=grid>{''.join(_list(status, *entry) for entry in _LISTS)}</div>",
        f"<section class='card wide'><h2>Lanes</h2>{_lanes(status.lanes)}</section>",
        f"<footer>{at} · waypost {__version__} · <a href=/healthz>healthz</a> · <a href=/metrics>metrics</a> · "
        "<a href=/api/status>status as JSON</a></footer>",
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<meta http-equiv=refresh content={REFRESH_S}><title>Waypost</title>"
        f"<style>{_style()}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


@cache
def _style() -> str:
    return resources.files("waypost.console").joinpath("style.css").read_text("utf-8")


def _pill(text: str, kind: str) -> str:
    return f"<span class='pill {kind}'>{escape(text)}</span>"


def _errors(errors: Sequence[str]) -> str:
    if not errors:
        return ""
    text = escape("\n".join(errors))
    return f"<section class='card wide'><h2>The newest catalog was refused</h2><pre>{text}</pre></section>"


def _curve(status: Status, metric: str, title: str, counted: str) -> str:
    rate, total = status.rates.get(metric, 0.0), status.counts.get(metric, 0)
    return (
        f"<section class=card><h2>{title}</h2><div class=figure>{rate:,.1f} <small>/s</small></div>"
        f"<div class=total>{total:,.0f} {counted}</div>{_svg(status.history.get(metric, []))}</section>"
    )


def _svg(points: Sequence[float]) -> str:
    """A curve over the last minute, scaled to its highest point."""
    if len(points) < 2:
        return "<svg></svg>"
    top = max(points) or 1.0
    step = 100 / (len(points) - 1)
    line = " ".join(f"{nth * step:.1f},{35 - 33 * value / top:.1f}" for nth, value in enumerate(points))
    return (
        "<svg viewBox='0 0 100 36' preserveAspectRatio=none role=img aria-label='the last minute'>"
        f"<polygon points='0,36 {line} 100,36'/><polyline points='{line}'/></svg>"
    )


def _roles(roles: Sequence[RoleStatus]) -> str:
    if not roles:
        return "<p>No role has published anything yet.</p>"
    rows = "".join(_role_row(role) for role in roles)
    head = "<th>role<th>state<th class=number>pid<th class=number>restarts<th class=number>errors<th class=number>seen"
    return f"<table><tr>{head}</tr>{rows}</table>"


def _role_row(role: RoleStatus) -> str:
    kind = "good" if role.ok else "wait" if role.state in ("starting", "stopping") else "bad"
    seen = "never" if role.age_ms < 0 else f"{role.age_ms / 1000:.1f} s ago"
    return (
        f"<tr><td>{escape(role.name)}<td>{_pill(role.state, kind)}<td class=number>{role.pid or '–'}"
        f"<td class=number>{role.restarts}<td class=number>{role.errors:,}<td class=number>{seen}</tr>"
    )


def _list(status: Status, title: str, entries: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{text}<dd>{status.counts.get(metric, 0):,.0f}" for metric, text in entries)
    return f"<section class=card><h2>{title}</h2><dl>{items}</dl></section>"


def _lanes(lanes: Sequence[LaneStatus]) -> str:
    if not lanes:
        return "<p>No lane has work.</p>"
    lanes = sorted(lanes, key=lambda lane: "state" not in lane.values)  # those that wait for a human first
    columns = list(dict.fromkeys(name for lane in lanes for name in lane.values if name not in _LANE_WORDS))
    head = "<th>lane<th>state" + "".join(f"<th class=number>{escape(name.replace('_', ' '))}" for name in columns)
    rows = "".join(
        f"<tr><td>{escape(lane.name)}<td>{_lane_state(lane)}"
        + "".join(f"<td class=number>{_cell(lane.values.get(name))}" for name in columns)
        for lane in lanes[:_LANES_SHOWN_MAX]
    )
    more = f"<p>and {len(lanes) - _LANES_SHOWN_MAX} more</p>" if len(lanes) > _LANES_SHOWN_MAX else ""
    return f"<table><tr>{head}</tr>{rows}</table>{more}"


def _lane_state(lane: LaneStatus) -> str:
    """What an operator, a partner or the lane itself has made of it; nothing where it is open."""
    values = lane.values
    breaker = values.get("breaker", "closed")
    state = values.get("state") or (f"breaker {breaker}" if breaker != "closed" else values.get("held_by"))
    return f"{_pill(str(state), 'wait')} {escape(str(values.get('why', '')))}" if state else ""


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
    return escape("" if value is None else str(value))
