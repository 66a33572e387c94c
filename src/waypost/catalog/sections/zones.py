"""Timezones in a catalog.

Owns: the check of an IANA name. Reads a tree and the timezone database; notes problems.
"""

from zoneinfo import ZoneInfo, available_timezones

from waypost.catalog.reading import Field, Reader


def read_timezone(reader: Reader, field: Field | None) -> str:
    """An IANA name; UTC where none is given, or none that there is."""
    text = reader.text(field, length_max=64)
    if field is None or text is None:
        return "UTC"
    try:
        ZoneInfo(text)
    except (KeyError, OSError, ValueError):  # not found, a folder's name, a path that leads out
        pass
    else:
        return text
    hint = "an IANA name such as `Europe/Berlin`"
    reader.wrong("catalog_bad_value", field, f"there is no timezone `{text}`", hint=hint, meant=available_timezones())
    return "UTC"
