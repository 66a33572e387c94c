"""Where clicks may go, as the catalog says it: what is taken, what is refused, and what is worked out at apply."""

from pathlib import Path

import pytest

from support.catalog_text import DESIGN, SETTINGS, compiled, errors
from waypost.catalog.model import Facet, Link, Schedule
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.model.ids import ROUTES_MAX

HEAD = "waypost: 1\nadvertisers: {acme: {token: a}}\npartners:\n  geozo: {}\n"
OFFER = "{{advertiser: acme, url: 'http://x.example/{}', goals: {{g: {{payout: 1 USD}}}}{}}}"


def catalog(offers: dict[str, str], rest: str = "links: {demo: {partner: geozo, offer: a}}\n") -> str:
    lines = [f"  {name}: {OFFER.format(name, f', {more}' if more else '')}\n" for name, more in offers.items()]
    return HEAD + "offers:\n" + "".join(lines) + rest


def test_every_form_of_targeting() -> None:
    text = catalog(
        {
            "a": "targeting: {country: [de, AT], os_version: '>= 12', bot: false, visitor: new, ip: 10.0.0.0/8, "
            "not: {device: [tv, bot], bot: true}, schedule: {days: [fri-mon], hours: '22:00-02:00', "
            "timezone: Europe/Berlin}}, if: \"language == 'de'\", starts: 2026-01-01, ends: 2026-12-31"
        }
    )
    (offer,) = compiled(text).offers
    assert offer.targeting is not None
    assert offer.targeting.facets == (
        Facet("country", "text", ("DE", "AT")),
        Facet("os_version", "version", (">= 12",)),
        Facet("bot", "exact", ("1",), True),
        Facet("returning", "exact", ("1",), True),
        Facet("ip", "network", ("10.0.0.0/8",)),
        Facet("device", "text", ("tv", "bot"), True),
        Facet("bot", "exact", ("1",), True),
    )
    assert offer.targeting.schedules == (Schedule("Europe/Berlin", (0, 4, 5, 6), ((1320, 120),)),)
    assert offer.targeting.condition == "language == 'de'"
    assert (offer.targeting.starts_ms, offer.targeting.ends_ms) == (1767225600000, 1798761600000)  # the 31st is within


@pytest.mark.parametrize(
    ("more", "code", "hint"),
    [
        ("targeting: {country: UK}", "catalog_bad_value", "`GB`"),
        ("targeting: {country: Germany}", "catalog_bad_value", "two letters"),
        ("targeting: {county: DE}", "catalog_unknown_key", "`country`"),
        ("targeting: {sub31: x}", "catalog_unknown_key", ""),
        ("targeting: {device: phone}", "catalog_bad_value", "`mobile`"),
        ("targeting: {language: deutsch}", "catalog_bad_value", "two letters"),
        ("targeting: {os_version: new}", "catalog_bad_value", "12 - 14"),
        ("targeting: {ip: 10.0.0.1/8}", "catalog_bad_value", "10.0.0.0/8"),
        ("targeting: {bot: maybe}", "catalog_wrong_type", ""),
        ("targeting: {visitor: old}", "catalog_bad_value", "`new`"),
        ("targeting: {country: []}", "catalog_bad_value", "remove the key"),
        ("targeting: {country: [DE, AT], not: {country: [AT, DE, CH]}}", "catalog_bad_value", "one of the two"),
        ("targeting: {schedule: {hours: '09:00-09:00'}}", "catalog_bad_value", "correct it"),
        ("targeting: {schedule: {hours: '9 to 5'}}", "catalog_bad_value", "09:00-18:00"),
        ("targeting: {schedule: {hours: '24:00-25:00'}}", "catalog_bad_value", "09:00-18:00"),
        ("targeting: {schedule: {days: someday}}", "catalog_bad_value", "mon-fri"),
        ("targeting: {schedule: {timezone: Europe/Berln}}", "catalog_bad_value", "Europe/Berlin"),
        ("targeting: {schedule: {weekdays: mon}}", "catalog_unknown_key", "`days`"),
        ("starts: soon", "catalog_bad_value", "2026-12-31"),
        ("starts: 2026-02-30", "catalog_bad_value", "2026-12-31"),
        ("starts: 2026-02-02, ends: 2026-02-01", "catalog_bad_value", "between"),
        ("if: \"country = 'DE'\"", "catalog_template", "write =="),
        ("if: \"contry == 'DE'\"", "catalog_template", "country"),
        ("if: \"click_id == 'x'\"", "catalog_template", ""),
        ("fallback: {offer: nobody}", "catalog_unknown_name", ""),
        ("fallback: {group: nobody}", "catalog_unknown_name", ""),
        ("fallback: {url: 'http://{sub1}.example/'}", "catalog_template", "host"),
        ("fallback: nowhere", "catalog_wrong_type", "`offer`"),
    ],
)
def test_each_mistake(more: str, code: str, hint: str) -> None:
    (error,) = errors(catalog({"a": more}))
    assert (error.code, error.place) == (code, "c.yaml:6")
    assert error.field.startswith("offers.a.") and hint in f"{error.message} {error.hint}"


def test_the_column_of_a_mistake_in_a_condition_is_said() -> None:
    (error,) = errors(catalog({"a": "if: \"country == 'DE' and contry\""}))
    assert "column 21" in error.message


@pytest.mark.parametrize(
    ("link", "code", "hint"),
    [
        ("targets: [{offer: a, weight: 0}, {offer: b, weight: 0}]", "catalog_bad_value", "raise one"),
        ("targets: [{offer: a}, {offer: a}]", "catalog_duplicate", "one target an offer"),
        ("targets: [{offer: a, weight: -1}]", "catalog_wrong_type", "digits"),
        ("targets: [{weight: 1}]", "catalog_missing_key", "`offer:`"),
        ("rotation: order, targets: [{offer: a}, {offer: b}]", "catalog_bad_value", "put it last"),
        ("rotation: order, split: {by: user}, targets: [{offer: a}]", "catalog_duplicate", "keep one"),
        ("split: {by: country}, targets: [{offer: a}]", "catalog_bad_value", "`user`"),
        ("targets: [{offer: a, if: 'x ='}]", "catalog_template", ""),
    ],
)
def test_each_mistake_of_a_link(link: str, code: str, hint: str) -> None:
    (error,) = errors(catalog({"a": "", "b": ""}, f"links: {{demo: {{partner: geozo, {link}}}}}\n"))
    assert error.code == code and hint in f"{error.message} {error.hint}"


def test_an_order_is_right_where_each_but_the_last_may_refuse() -> None:
    link = "links: {demo: {partner: geozo, rotation: order, targets: [{offer: a}, {offer: b, if: sub1}, {offer: c}]}}\n"
    assert errors(catalog({"a": "targeting: {country: DE}", "b": "", "c": ""}, link)) == []


def test_a_private_offer_is_promoted_by_those_it_names_and_falls_back_for_nobody_else() -> None:
    link = "links: {demo: {partner: geozo, offer: a}}\n"
    hidden = {"a": "fallback: {offer: b}", "b": "access: private"}
    (error,) = errors(catalog(hidden, link))
    assert "`geozo` may not promote offer `b`" in error.message and error.field == "links.demo"
    assert errors(catalog({**hidden, "b": "access: request, partners: geozo"}, link)) == []


def test_offers_that_fall_back_on_each_other_are_refused() -> None:
    ring = {"a": "fallback: {offer: b}", "b": "fallback: {offer: c}", "c": "fallback: {offer: a}"}
    (error,) = errors(catalog(ring))
    assert "a → b → c → a" in error.message and error.field == "offers.a.fallback.offer"
    (own,) = errors(catalog({"a": "fallback: {offer: a}"}))
    assert "a → a" in own.message


FALLING = catalog(
    {
        "a": "targeting: {country: DE}, fallback: {offer: b, group: rest}",
        "b": "fallback: {offer: c, url: 'http://b.example/'}",
        "c": "",
        "d": "",
        "e": "",
    },
    "groups: {rest: {offers: {c: 1, d: 3}}, more: {offers: [d, e]}}\n"
    "links:\n  demo: {partner: geozo, offer: a, fallback: {group: more, url: 'http://l.example/?c={country}'}}\n"
    "  plain: {partner: geozo, offer: c}\n",
)


def test_what_a_link_falls_back_on_is_worked_out_at_compiling() -> None:
    demo, plain = compiled(FALLING).links
    assert [target.offer for target in demo.fallbacks] == ["b", "c"]
    assert [[(one.offer, one.weight) for one in group] for group in demo.groups] == [[("d", 1), ("e", 1)]]
    assert demo.default_url == "http://l.example/?c={country}" and demo.may_be_unplaced
    assert plain.reached == ("c",) and not plain.may_be_unplaced


@pytest.mark.parametrize(
    ("link", "partner", "top", "found"),
    [
        ("", "", "", ("http://a.example/", True)),
        (", fallback: blank", "", "", ("", True)),
        (", fallback: {url: 'http://l.example/'}", "", "", ("http://l.example/", True)),
    ],
)
def test_the_nearest_default_counts(link: str, partner: str, top: str, found: tuple[str, bool]) -> None:
    rest = f"links: {{demo: {{partner: geozo, offer: a{link}}}}}\n"
    (draft,) = compiled(catalog({"a": "fallback: {url: 'http://a.example/'}"}, rest)).links
    assert (draft.default_url, draft.may_be_unplaced) == found


def test_a_partner_s_default_and_the_installation_s() -> None:
    top = "fallback: {url: 'http://top.example/'}\n"
    text = catalog({"a": ""}, top + "links: {demo: {partner: geozo, offer: a}}\n")
    assert compiled(text).links[0].default_url == "http://top.example/"
    text = text.replace("geozo: {}", "geozo: {fallback: {url: 'http://p.example/'}}")
    assert compiled(text).links[0].default_url == "http://p.example/"


def test_a_partner_s_offer_and_group_take_what_the_link_s_own_ways_do_not() -> None:
    rest = "groups: {rest: {offers: [c, d]}, last: {offers: [d, e]}}\nfallback: {group: last, url: 'http://top.example/'}\n"
    rest += "links: {demo: {partner: geozo, offer: a}}\n"
    text = catalog(dict.fromkeys("abcde", ""), rest).replace("geozo: {}", "geozo: {fallback: {offer: b, group: rest}}")
    (draft,) = compiled(text).links
    assert [target.offer for target in draft.fallbacks] == ["b"]
    assert [[one.offer for one in group] for group in draft.groups] == [["c", "d"], ["e"]]
    assert draft.default_url == "http://top.example/"
    (draft,) = compiled(text.replace("offer: a}", "offer: a, fallback: blank}")).links
    assert (draft.fallbacks, draft.groups, draft.default_url) == ((), (), ""), "the link's own way ends there"


def applied(folder: Path, text: str) -> Link:
    file = folder / "c.yaml"
    file.write_text(text, "utf-8")
    apply_catalog(file, folder / "catalog", SETTINGS)
    store = SqliteCatalogStore(folder / "catalog", cache_items_max=100)
    view = store.open(store.current())
    link = view.link("demo")
    assert link is not None
    for target in (*link.targets, *link.fallbacks, *(one for group in link.groups for one in group)):
        route = view.route(target.route)
        assert route is not None and (route.link, route.offer) == ("demo", target.offer)
    if link.unplaced:
        route = view.route(link.unplaced)
        assert route is not None and (route.link, route.offer) == ("demo", 0)
    view.close()
    return link


def test_every_place_has_a_route_and_keeps_it(tmp_path: Path) -> None:
    first = applied(tmp_path, FALLING)
    routes = {target.offer: target.route for target in (*first.targets, *first.fallbacks, *first.groups[0])}
    assert len(set(routes.values())) == 5 and first.unplaced == ROUTES_MAX - 1
    without = applied(tmp_path, FALLING.replace("group: rest", "group: more").replace("{group: more, url", "{url"))
    assert {target.offer: target.route for target in (*without.targets, *without.fallbacks)}.items() <= routes.items()
    plain = applied(tmp_path, catalog({"c": "", "a": ""}))
    assert plain.targets[0].route == routes[1] and plain.unplaced == 0
    again = applied(tmp_path, FALLING)
    assert again == first


def test_the_design_s_catalog_has_no_targeting_and_one_place_for_what_its_cap_refuses() -> None:
    (link,) = compiled(DESIGN).links
    assert (link.reached, link.fallbacks, link.groups, link.may_be_unplaced) == (("acme-vpn",), (), (), True)
