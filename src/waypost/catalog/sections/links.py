"""The section `links`: a partner's ways to offers.

Owns: the checks of this section. Reads a tree and the names of partners and offers; notes problems.
Never numbers a route: an engine does, once and for all.
"""

from collections.abc import Collection

from waypost.catalog.compiled import LinkDraft
from waypost.catalog.reading import Field, Reader
from waypost.catalog.sections.placing import PlaceNames, read_fallback, read_rotation, read_targets
from waypost.catalog.sections.visits import read_mode
from waypost.catalog.templates import TemplateChecker


def read_links(
    reader: Reader, field: Field, partners: Collection[str], places: PlaceNames, templates: TemplateChecker
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
                targets=read_targets(reader, fields, places.offers),
                active=reader.flag(fields.get("active"), True),
                place=f"{file}:{line}",
                mode=read_mode(reader, fields.get("mode")),
                rotation=read_rotation(reader, fields),
                fallback=read_fallback(reader, fields.get("fallback"), places, templates),
                hides_referrer=reader.choice(fields.get("referrer"), ("keep", "hide")) == "hide",
            )
        )
    return tuple(found)
