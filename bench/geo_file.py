"""An MMDB file of a million networks, made in seconds: for benches that look visitors up.

Owns: the writing of such a file: a complete binary tree of 2^20 networks (/20), as deep as real files are for most
addresses, and the records of some thousand made-up cities in the form of GeoIP2 City. Writes one file.
"""

import sys
from array import array
from pathlib import Path

DEPTH = 20  # 1,048,576 networks
CITIES = 5_000
COUNTRIES = ("DE", "FR", "PL", "ES", "IT", "US", "BR", "IN", "ID", "TR")
_LANGUAGES = ("de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN")
_EPOCH_S = 1_790_000_000
_SHORT, _LONG, _WHOLE = 5, 6, 9  # kinds of numbers in the format: of 2, 4 and 8 bytes


def write_geo_file(file: Path) -> None:
    """Writes the file, unless it is there."""
    if file.exists():
        return
    data, offsets = bytearray(), []
    for city in range(CITIES):
        offsets.append(len(data))
        data += _value(_record(city))
    nodes = (1 << DEPTH) - 1
    records = array("I", range(1, 2 * nodes + 1))  # node n leads to nodes 2n+1 and 2n+2 …
    first = (1 << (DEPTH - 1)) - 1
    for leaf in range(2 * first, 2 * nodes):  # … and the last row to data
        records[leaf] = nodes + 16 + offsets[(leaf * 2_654_435_761 >> 7) % CITIES]
    if sys.byteorder == "little":
        records.byteswap()
    about = {
        "binary_format_major_version": (_SHORT, 2),
        "binary_format_minor_version": (_SHORT, 0),
        "build_epoch": (_WHOLE, _EPOCH_S),
        "database_type": "Bench-City",
        "description": {"en": "made-up cities"},
        "ip_version": (_SHORT, 4),
        "languages": ["en"],
        "node_count": (_LONG, nodes),
        "record_size": (_SHORT, 32),
    }
    partial = file.with_suffix(".partial")
    partial.write_bytes(records.tobytes() + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _value(about))
    partial.rename(file)


def _record(city: int) -> dict[str, object]:
    country = COUNTRIES[city % len(COUNTRIES)]
    return {
        "city": {"geoname_id": 1_000_000 + city, "names": dict.fromkeys(_LANGUAGES, f"City {city}")},
        "continent": {"code": "EU", "geoname_id": 6255148, "names": dict.fromkeys(_LANGUAGES, "Europe")},
        "country": {"iso_code": country, "names": dict.fromkeys(_LANGUAGES, f"Country of {country}")},
        "location": {"accuracy_radius": 20, "time_zone": "Europe/Berlin"},
        "subdivisions": [{"iso_code": f"R{city % 30}", "names": {"en": f"Region {city % 30}"}}],
    }


def _value(value: object) -> bytes:
    """The MaxMind DB format 2.0's data section: maps, texts, lists and unsigned numbers."""
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_value(key) + _value(inner) for key, inner in value.items())
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(map(_value, value))
    if isinstance(value, tuple | int):
        kind, number = value if isinstance(value, tuple) else (_LONG, value)
        digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
        return _head(kind, len(digits)) + digits
    text = str(value).encode()
    return _head(2, len(text)) + text


def _head(kind: int, size: int) -> bytes:
    if size >= 29:
        size, more = 29, bytes([size - 29])
    else:
        more = b""
    return (bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])) + more
