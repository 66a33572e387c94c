"""The names under which a partner's click URLs carry our parameters.

Owns: the checks of `partners.NAME.click_names` and `partners.NAME.aliases`. Reads a tree; notes problems.
"""

from waypost.catalog.aliases import CLICK_PARAMETERS, merged_clicks
from waypost.catalog.reading import Fields, Reader
from waypost.catalog.sections.access import read_aliases, read_inbound_names

CLICK_NAMES_MAX = 200


def read_click_names(reader: Reader, fields: Fields) -> dict[str, str]:
    """A parameter's name in their click URLs → ours: their own, then those of the alias sets."""
    own: dict[str, str] = {}
    field = fields.get("click_names")
    for canonical, entry in reader.entries(field, CLICK_NAMES_MAX) if field is not None else ():
        if canonical not in CLICK_PARAMETERS:
            message, hint = f"`{canonical[:64]}` is none of our click parameters", "such as `sub1`, `source` or `cost`"
            reader.wrong("catalog_bad_value", entry, message, hint=hint, meant=CLICK_PARAMETERS)
            continue
        for name, alias in read_inbound_names(reader, entry):
            if own.setdefault(name, canonical) != canonical:
                message = f"`{name}` already stands for `{own[name]}`"
                reader.wrong("catalog_duplicate", alias, message, hint="one name has one meaning")
    return merged_clicks(own, read_aliases(reader, fields.get("aliases")))
