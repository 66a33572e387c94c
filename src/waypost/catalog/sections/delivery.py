"""How a partner's lanes send: the key `delivery` of a partner.

Owns: the checks of this mapping. Reads a tree; notes problems. Never sends, and knows no setting: what the catalog
leaves out is filled in where lanes work (`courier/policies.py`).
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from waypost.catalog.model import Breaker, Delivery, Rate
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.access import read_secrets
from waypost.catalog.sections.answers import read_statuses
from waypost.catalog.sections.targeting import read_schedules
from waypost.catalog.source import Scalar

_SHAPE = "partners.NAME.delivery"
_RATE = re.compile(r"([1-9][0-9]{0,8})\s?/\s?(s|m|h|d)\Z")
PER_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_LETTERS = {name[0]: ms for name, ms in PER_MS.items()}
CONCURRENCY_MAX = 1_000
TIMEOUT_MIN_MS, TIMEOUT_MAX_MS = 100, 120_000
PAUSE_MIN_MS, PAUSE_MAX_MS = 100, 7 * 86_400_000
AGE_MAX_MS = 90 * 86_400_000
RETRIES_MAX = 50
RATE_MAX = 1_000_000_000
RATES_MAX = 4
PORTS_MAX = 32
ORDERINGS = ("none", "click", "user")
HEADERS = ("all", "standard", "none")
ON_UNKNOWN = ("resend", "hold", "drop")


def read_delivery(reader: Reader, field: Field | None) -> Delivery:
    """All that the catalog says of a partner's lanes."""
    fields = reader.fields(field, _SHAPE) if field is not None else None
    if fields is None:
        return Delivery()
    retry, quiet = fields.get("retry"), fields.get("quiet_hours")
    ordering = reader.choice(fields.get("ordering"), ORDERINGS)
    return Delivery(
        concurrency=reader.whole(fields.get("concurrency"), least=1, most=CONCURRENCY_MAX) or 0,
        connect_timeout_ms=_timeout(reader, fields.get("connect_timeout")),
        total_timeout_ms=_timeout(reader, fields.get("timeout")),
        retry_schedule_ms=_schedule(reader, retry) if retry is not None else None,
        retry_jitter=reader.share(fields.get("jitter")),
        adaptive=reader.flag(fields.get("adaptive"), True),
        rates=_rates(reader, fields.get("rate")),
        first_byte_timeout_ms=_timeout(reader, fields.get("first_byte_timeout")),
        retry_age_ms=_pause(reader, fields.get("retry_age"), AGE_MAX_MS),
        retry_statuses=read_statuses(reader, fields.get("retry_on")),
        retry_after_ms=_pause(reader, fields.get("retry_after"), PAUSE_MAX_MS),
        breaker=_breaker(reader, fields.get("breaker")),
        quiet_hours=read_schedules(reader, quiet, f"{_SHAPE}.quiet_hours") if quiet is not None else (),
        ordering=ordering if ordering is not None and ordering != "none" else "",
        on_unknown=reader.choice(fields.get("on_unknown"), ON_UNKNOWN) or "resend",
        corrections=reader.flag(fields.get("corrections"), False),
        http2=reader.flag(fields.get("http2"), False),
        proxy=_proxy(reader, fields.get("proxy")),
        source_address=_address(reader, fields.get("source_address")),
        tls13=reader.choice(fields.get("tls_min"), ("1.2", "1.3")) == "1.3",
        ports=_ports(reader, fields.get("ports")),
        headers=reader.choice(fields.get("headers"), HEADERS) or "all",
    )


def _timeout(reader: Reader, field: Field | None) -> int:
    return reader.duration_ms(field, least_ms=TIMEOUT_MIN_MS, most_ms=TIMEOUT_MAX_MS) or 0


def _pause(reader: Reader, field: Field | None, most_ms: int) -> int:
    return reader.duration_ms(field, least_ms=PAUSE_MIN_MS, most_ms=most_ms) or 0


def _schedule(reader: Reader, field: Field) -> tuple[int, ...]:
    pauses = reader.items(field)
    if len(pauses) > RETRIES_MAX:
        reader.wrong("catalog_too_large", field, f"has {len(pauses)} pauses, at most {RETRIES_MAX}", hint="shorten it")
        return ()
    read = [reader.duration_ms(pause, least_ms=PAUSE_MIN_MS, most_ms=PAUSE_MAX_MS) for pause in pauses]
    if not pauses:
        reader.wrong("catalog_missing_key", field, "names no pause", hint="remove the key for the settings' schedule")
    return tuple(ms for ms in read if ms is not None)


def _rates(reader: Reader, field: Field | None) -> tuple[Rate, ...]:
    entries = reader.one_or_many(field)
    if field is not None and len(entries) > RATES_MAX:
        reader.wrong("catalog_too_large", field, f"has {len(entries)} rates, at most {RATES_MAX}", hint="remove some")
        return ()
    found = [_rate(reader, entry) for entry in entries]
    return tuple(rate for rate in found if rate is not None)


def _rate(reader: Reader, field: Field) -> Rate | None:
    """`100/s`, or a mapping that says more. A burst is a second's worth where nothing is said."""
    if isinstance(field.node, Scalar):
        text = reader.text(field, length_max=32) or ""
        match = _RATE.match(text)
        if match is None:
            hint = "such as `100/s`, `5000/m`, `20000/h` or `100000/d`"
            reader.wrong("catalog_bad_value", field, f"`{text}` is no rate", hint=hint)
            return None
        limit, per_ms = int(match[1]), _LETTERS[match[2]]
        return Rate(limit, per_ms, max(1, limit * 1000 // per_ms))
    fields = reader.fields(field, f"{_SHAPE}.rate")
    if fields is None:
        return None
    limit = reader.whole(fields.get("limit"), least=1, most=RATE_MAX) or 0
    per_ms = PER_MS[reader.choice(fields.get("per"), PER_MS) or "second"]
    burst = reader.whole(fields.get("burst"), least=1, most=max(1, limit))
    return Rate(limit, per_ms, burst or max(1, limit * 1000 // per_ms)) if limit else None


def _breaker(reader: Reader, field: Field | None) -> Breaker | None:
    """A 0 in it means the setting's."""
    if field is None:
        return None
    if isinstance(field.node, Scalar):
        reader.choice(field, ("off",))
        return Breaker(0.0, 1, 1, 1, 1)
    fields = reader.fields(field, f"{_SHAPE}.breaker")
    if fields is None:
        return None
    share = reader.share(fields.get("failures"))
    if share == 0:
        hint = "`breaker: off` has it never open"
        reader.wrong("catalog_bad_value", field, "a lane without any failure would be stopped", hint=hint)
    return Breaker(
        share=-1.0 if share is None else share,
        calls=reader.whole(fields.get("calls"), least=1, most=100_000) or 0,
        window_ms=_pause(reader, fields.get("window"), 600_000),
        pause_ms=_pause(reader, fields.get("pause"), 3_600_000),
        pause_max_ms=_pause(reader, fields.get("pause_max"), 86_400_000),
    )


def _proxy(reader: Reader, field: Field | None) -> str:
    """A proxy's URL, written out or by reference; what is behind a reference is checked where it is used."""
    text = next((text for text, _ in read_secrets(reader, field)), "")
    if field is None or not text or text.startswith(("env:", "file:")):
        return text
    try:
        url = urlsplit(text)
        is_fine = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        is_fine = False
    if not is_fine or url.path.strip("/") or url.query or url.fragment:
        hint = "such as `http://proxy.example:3128`"
        reader.wrong("catalog_bad_value", field, "is no http or https proxy", hint=hint)
        return ""
    return text


def _address(reader: Reader, field: Field | None) -> str:
    text = reader.text(field, length_max=64)
    if field is None or not text:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        hint = "an address of this machine, such as `203.0.113.7`"
        reader.wrong("catalog_bad_value", field, f"`{text}` is no IP address", hint=hint)
        return ""


def _ports(reader: Reader, field: Field | None) -> tuple[int, ...]:
    entries = reader.one_or_many(field)
    if field is not None and len(entries) > PORTS_MAX:
        reader.wrong("catalog_too_large", field, f"has {len(entries)} ports, at most {PORTS_MAX}", hint="remove some")
        return ()
    return tuple(port for one in entries if (port := reader.whole(one, least=1, most=65_535)) is not None)
