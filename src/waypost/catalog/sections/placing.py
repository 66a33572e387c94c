"""Where a link's clicks may go: its targets, and what follows when none of them can take a click.

Owns: the keys `targets`, `split`, `rotation`, `fallback` and the section `groups`; and the working out, once at apply,
of the fallback offers, groups and default address of each link. Reads a tree; notes problems.
Never chooses for a click: doors do.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from waypost.catalog import source
from waypost.catalog.compiled import Fallback, GroupDraft, LinkDraft, OfferDraft, TargetDraft
from waypost.catalog.reading import Field, Fields, Reader
from waypost.catalog.sections.targeting import read_targeting
from waypost.catalog.templates import TemplateChecker

WEIGHT_MAX = 1_000_000
OFFERS_MAX = 1_000  # that one link may lead to, fallbacks and groups included
_BLANK = "blank"
_PARAMETERS = ("external_id", "source", "keyword")


class PlaceNames(NamedTuple):
    """The names that a place to go to may have."""

    offers: Collection[str]
    groups: Collection[str]
    partners: Collection[str]


def read_groups(reader: Reader, field: Field, offers: Collection[str]) -> tuple[GroupDraft, ...]:
    """The section `groups`: offers that take what others cannot."""
    found = []
    for name, entry, at in reader.named(field):
        fields = reader.fields(entry, "groups.NAME", at)
        if fields is None:
            continue
        members = _members(reader, fields.get("offers"), offers)
        if not members and (listed := fields.get("offers")) is not None:
            reader.wrong("catalog_bad_value", listed, "has no offer", hint="a list of offers, or weights by offer")
        file, line = fields.at
        found.append(GroupDraft(name, tuple(members), f"{file}:{line}"))
    return tuple(found)


def _members(reader: Reader, field: Field | None, offers: Collection[str]) -> list[TargetDraft]:
    """A list of offers, or a mapping of weights by offer."""
    if field is None:
        return []
    found: dict[str, TargetDraft] = {}
    if isinstance(field.node, source.Scalar | source.Items):
        pairs = [(reader.reference(one, offers, "offer"), 1) for one in reader.one_or_many(field)]
    else:
        pairs = []
        for name, entry in reader.entries(field, OFFERS_MAX):
            if name not in offers:
                message, hint = f"there is no offer `{name[:64]}`", "add it below `offers:`"
                reader.problems.add(
                    "catalog_unknown_name", message, entry.node.at, field=entry.path, hint=hint, meant=offers
                )
                continue
            pairs.append((name, read_weight(reader, entry)))
    for offer, weight in pairs:
        if offer:
            found.setdefault(offer, TargetDraft(offer, weight))
    if found and not any(target.weight for target in found.values()):
        reader.wrong("catalog_bad_value", field, "all weights are 0: no click ever goes there", hint="raise one")
    return list(found.values())


def read_weight(reader: Reader, field: Field | None) -> int:
    """A share among others; 0 rests a target without removing it."""
    weight = reader.whole(field, least=0, most=WEIGHT_MAX)
    return 1 if weight is None else weight


def read_fallback(
    reader: Reader, field: Field | None, names: PlaceNames, templates: TemplateChecker
) -> Fallback | None:
    """`blank`, or a mapping of `offer`, `group` and `url`."""
    if field is None:
        return None
    file, line = field.node.at
    if isinstance(field.node, source.Scalar) and field.node.text == _BLANK:
        return Fallback(blank=True, place=f"{file}:{line}")
    fields = reader.fields(field, "fallback")
    if fields is None:
        return None
    url = fields.get("url")
    text = reader.text(url)
    if url is not None and text is not None:
        templates.check_offer_url(reader, url, text)
    return Fallback(
        offer=reader.reference(fields.get("offer"), names.offers, "offer") or "",
        group=reader.reference(fields.get("group"), names.groups, "group") or "",
        url=text or "",
        place=f"{file}:{line}",
    )


def read_targets(reader: Reader, fields: Fields, offers: Collection[str]) -> tuple[TargetDraft, ...]:
    """A link's `offer`, or its `targets`."""
    listed, single = fields.get("targets"), fields.get("offer")
    if listed is None:
        if single is None:
            reader.problems.add(
                "catalog_missing_key", "`offer` is missing (where it leads)", fields.at, field=f"{fields.path}.offer",
                hint="add `offer:`, which takes name; or `targets:` for several",
            )  # fmt: skip
        return (TargetDraft(reader.reference(single, offers, "offer") or ""),)
    if single is not None:
        reader.wrong("catalog_duplicate", single, "stands beside `targets`", hint="name it among the targets")
    found: list[TargetDraft] = []
    seen: set[str] = set()
    for entry in reader.items(listed):
        target = _target(reader, entry, offers)
        if target is None:
            continue
        if target.offer and target.offer in seen:
            message = f"offer `{target.offer}` is a target already"
            reader.wrong("catalog_duplicate", entry, message, hint="one target an offer: join weights and conditions")
            continue
        seen.add(target.offer)
        found.append(target)
    if found and not any(target.weight for target in found):
        reader.wrong("catalog_bad_value", listed, "all weights are 0: no click ever goes there", hint="raise one")
    if not found:
        reader.wrong("catalog_bad_value", listed, "has no target", hint="such as `- {offer: NAME, weight: 1}`")
    return tuple(found)


def _target(reader: Reader, field: Field, offers: Collection[str]) -> TargetDraft | None:
    fields = reader.fields(field, "links.NAME.targets[]")
    if fields is None:
        return None
    return TargetDraft(
        offer=reader.reference(fields.get("offer"), offers, "offer") or "",
        weight=read_weight(reader, fields.get("weight")),
        targeting=read_targeting(reader, fields, "links.NAME.targets[]"),
    )


def read_rotation(reader: Reader, fields: Fields) -> str:
    """`weight` or `order`, or what a split test's arms hang on."""
    split, rotation = fields.get("split"), fields.get("rotation")
    if split is not None:
        if rotation is not None:
            reader.wrong("catalog_duplicate", rotation, "stands beside `split`", hint="keep one")
        return _split_key(reader, split)
    return reader.choice(rotation, ("weight", "order")) or "weight"


def _split_key(reader: Reader, field: Field) -> str:
    fields = reader.fields(field, "links.NAME.split")
    if fields is None:
        return "user"
    by = fields.get("by")
    text = reader.text(by, length_max=80) or "user"
    is_parameter = text in _PARAMETERS or text.startswith("click.") or (text[:3] == "sub" and text[3:].isdecimal())
    if by is not None and text != "user" and not is_parameter:
        hint = "`user`, or a parameter of the click: `external_id`, `sub1` …, `click.NAME`"
        reader.wrong("catalog_bad_value", by, f"`{text}` tells no users apart", hint=hint)
    return text


# --- working out -----------------------------------------------------------------------------------------


class Places:
    """All that a link's clicks may fall back on, by name."""

    def __init__(
        self,
        offers: Iterable[OfferDraft],
        groups: Iterable[GroupDraft],
        partners: Mapping[str, Fallback],
        default: Fallback | None,
    ) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._groups = {group.name: group for group in groups}
        self._partners = partners
        self._default = default

    def note_loops(self, reader: Reader) -> None:
        """Fallback offers that lead back to where they began."""
        known: set[str] = set()
        for name, offer in self._offers.items():
            path = list(self._chain(name))
            after = self._next(path[-1]) if path else ""
            if after and after == name and name not in known:
                known.update(path)
                ring = " → ".join([*path, name])
                file, _, line = (offer.fallback.place if offer.fallback is not None else offer.place).rpartition(":")
                reader.problems.add(
                    "catalog_bad_value", f"leads back to itself: {ring}", (file, int(line)),
                    field=f"offers.{name}.fallback.offer", hint="end the chain with a `group`, a `url` or `blank`",
                )  # fmt: skip

    def note_unreached(self, reader: Reader, link: LinkDraft) -> None:
        """Targets that stand, in an order, behind one that takes every click."""
        if link.rotation != "order":
            return
        for nth, target in enumerate(link.targets[:-1]):
            offer = self._offers.get(target.offer)
            if target.weight and offer is not None and offer.active and not self._may_refuse(target):
                file, _, line = link.place.rpartition(":")
                behind = ", ".join(f"`{other.offer}`" for other in link.targets[nth + 1 :])
                reader.problems.add(
                    "catalog_bad_value", f"`{target.offer}` takes every click, so none ever comes to {behind}",
                    (file, int(line)), field=f"links.{link.name}.targets",
                    hint=f"give `{target.offer}` a condition, or put it last",
                )  # fmt: skip
                return

    def note_not_approved(self, reader: Reader, link: LinkDraft) -> None:
        """Offers that the link's partner may not promote."""
        for name in link.reached:
            offer = self._offers.get(name)
            if offer is not None and offer.access != "open" and link.partner and link.partner not in offer.partners:
                file, _, line = link.place.rpartition(":")
                reader.problems.add(
                    "catalog_bad_value", f"partner `{link.partner}` may not promote offer `{name}` ({offer.access})",
                    (file, int(line)), field=f"links.{link.name}",
                    hint=f"add `{link.partner}` to `offers.{name}.partners`, or lead the link elsewhere",
                )  # fmt: skip

    def worked_out(self, link: LinkDraft) -> LinkDraft:
        """The link with its fallback offers, groups, default address, and whether a click may find no offer."""
        names = [target.offer for target in link.targets]
        ways, beyond = self._ways(link, names)
        chained = [offer for name in names for offer in self._chain(self._next(name))]
        for way in (link.fallback, *beyond):
            if way is not None:
                chained += self._chain(way.offer)
        fallbacks = [name for name in dict.fromkeys(chained) if name not in names]
        groups, seen = [], {*names, *fallbacks}
        for group in dict.fromkeys(way.group for way in ways if way.group):
            if group in self._groups:
                members = tuple(target for target in self._groups[group].members if target.offer not in seen)
                seen.update(target.offer for target in members)
                groups.append(members)
        last = next((way for way in ways if way.url or way.blank), None)
        return msgspec.structs.replace(
            link,
            fallbacks=tuple(TargetDraft(name) for name in fallbacks),
            groups=tuple(members for members in groups if members),
            default_url=last.url if last is not None else "",
            may_be_unplaced=last is not None or any(map(self._may_refuse, link.targets)),
        )

    def _ways(self, link: LinkDraft, names: Iterable[str]) -> tuple[list[Fallback], list[Fallback]]:
        """All fallbacks that hold for a link, and those of them that are the partner's or the catalog's.

        They hold only where no nearer one ends the way, with an address or the blank page.
        """
        own = (link.fallback, *(self._offers[name].fallback for name in names if name in self._offers))
        ways, beyond = [way for way in own if way is not None], []
        for further in (self._partners.get(link.partner), self._default):
            if any(way.url or way.blank for way in ways):
                break
            if further is not None:
                ways.append(further)
                beyond.append(further)
        return ways, beyond

    def _may_refuse(self, target: TargetDraft) -> bool:
        offer = self._offers.get(target.offer)
        return target.targeting is not None or (offer is not None and (offer.targeting is not None or bool(offer.caps)))

    def _next(self, name: str) -> str:
        offer = self._offers.get(name)
        return offer.fallback.offer if offer is not None and offer.fallback is not None else ""

    def _chain(self, name: str) -> Iterator[str]:
        """An offer, its fallback, that one's, and so on; each once."""
        seen: set[str] = set()
        while name and name in self._offers and name not in seen and len(seen) < OFFERS_MAX:
            seen.add(name)
            yield name
            name = self._next(name)


def read_partner_fallbacks(
    reader: Reader, partners: Field, names: PlaceNames, templates: TemplateChecker
) -> dict[str, Fallback]:
    """The key `fallback` of each partner that has one."""
    found = {}
    for name, entry in partners.node.entries.items() if isinstance(partners.node, source.Mapping) else ():
        node = entry.entries.get("fallback") if isinstance(entry, source.Mapping) else None
        if node is not None:
            fallback = read_fallback(reader, Field(node, f"{partners.path}.{name}.fallback"), names, templates)
            if fallback is not None:
                found[name] = fallback
    return found


def work_out(reader: Reader, links: Iterable[LinkDraft], places: Places) -> tuple[LinkDraft, ...]:
    """The links with all that their clicks may fall back on; loops and what is never reached are noted."""
    places.note_loops(reader)
    found = []
    for link in links:
        places.note_unreached(reader, link)
        found.append(places.worked_out(link))
        places.note_not_approved(reader, found[-1])
        if len(found[-1].reached) > OFFERS_MAX:
            file, _, line = link.place.rpartition(":")
            message = f"its clicks may come to {len(found[-1].reached)} offers, at most {OFFERS_MAX} are taken"
            hint = "name fewer targets, or a smaller group"
            reader.problems.add("catalog_too_large", message, (file, int(line)), field=f"links.{link.name}", hint=hint)
    return tuple(found)
