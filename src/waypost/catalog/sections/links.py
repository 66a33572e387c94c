"""The section `links`: a partner's ways to offers.

Owns: the checks of this section. Reads a tree and the names of partners and offers; notes problems.
Never numbers a route: an engine does, once and for all.
"""

from collections.abc import Collection

from waypost.catalog.compiled import LinkDraft
from waypost.catalog.reading import Field, Reader


def read_links(
    reader: Reader, field: Field, partners: Collection[str], offers: Collection[str]
) -> tuple[LinkDraft, ...]:
    """All links. There may be hundreds of thousands."""
    found: list[LinkDraft] = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "links.NAME", at)
        if fields is None:
            continue
        file, line = at
        found.append(
            LinkDraft(
                name=name,
                partner=reader.reference(fields.get("partner"), partners, "partner") or "",
                offers=(reader.reference(fields.get("offer"), offers, "offer") or "",),
                active=reader.flag(fields.get("active"), True),
                place=f"{file}:{line}",
            )
        )
    return tuple(found)
