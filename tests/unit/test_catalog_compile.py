"""The whole of a catalog: the design's as it stands, each section's keys, each kind of mistake with place and hint."""

from decimal import Decimal

import pytest

from support.catalog_text import CATALOGS, DESIGN, SETTINGS, changed, compiled, errors
from waypost.catalog.amounts import terms_text
from waypost.catalog.compile import compile_catalog
from waypost.catalog.keys import KEYS
from waypost.catalog.model import Delivery, Terms
from waypost.catalog.problems import PROBLEMS_MAX, CatalogErrors, nearest_name
from waypost.model.money import Money
from waypost.model.partition import partition_of

ADVERTISER = (
    "    token: s3cret                      # their postbacks must carry it; secrets may be env:NAME or file:PATH"
)
INSTALL = "install:  {payout: 1.20 USD}     # revenue: beside payout: where it differs"
CAP = "      - {count: conversions, limit: 100000, per: day, timezone: Europe/Berlin}"
ON = "on: {goal: install, status: approved}      # each value one or a list; absent means any"
GET = "get: http://127.0.0.1:9001/pb?cid={sub1}&money={payout}&type={status|map(approved=lead, declined=cancel)}"
LINK = "  demo: {partner: geozo, offer: acme-vpn}"


def test_the_designs_catalog_works_as_it_stands() -> None:
    catalog = compiled(DESIGN)
    assert catalog.counts() == {"advertisers": 1, "offers": 1, "partners": 1, "links": 1, "routes": 1}
    (advertiser,), (offer,), (partner,), (link,) = (
        catalog.advertisers, catalog.offers, catalog.partners, catalog.links,
    )  # fmt: skip
    assert (advertiser.name, advertiser.token, advertiser.partition) == ("acme", "s3cret", partition_of("acme"))
    assert (offer.advertiser, offer.url) == ("acme", "http://127.0.0.1:9000/land?cid={click_id}&s={sub1}")
    install, purchase = offer.goals
    assert install.payout == Terms("fixed", Money(Decimal("1.20"), "USD"))
    assert purchase.payout == Terms("share_of_sum", share=Decimal("0.3"))
    assert (install.status, install.active, install.default, install.revenue) == ("approved", True, False, None)
    (cap,) = offer.caps
    assert (cap.key, cap.limit) == ("conversions:day:Europe/Berlin", 100000)
    (rule,) = partner.rules
    assert (rule.no, rule.goals, rule.statuses, rule.verdicts, rule.offers) == (1, ("install",), ("approved",), (), ())
    assert (rule.method, rule.macros, rule.place) == ("GET", ("sub1", "payout", "status"), "c.yaml:17")
    assert (link.partner, link.offers, link.place) == ("geozo", ("acme-vpn",), "c.yaml:20")
    assert partner.delivery == Delivery()


def test_an_advertiser_with_everything() -> None:
    more = """    token: env:ACME_TOKEN
    parameters: {click_id: subid, txn_id: [tid, order], pending_status: lead_status}
    statuses: {approved: [Sale, 1], pending: LEAD, declined: trash}
    currency: EUR
    active: false
"""
    (advertiser,) = compiled(changed(ADVERTISER, more)).advertisers
    assert advertiser.token == "env:ACME_TOKEN"
    assert advertiser.parameters == {
        "click_id": ("subid",), "txn_id": ("tid", "order"), "pending_status": ("lead_status",),
    }  # fmt: skip
    assert advertiser.statuses == {"lead": "pending", "sale": "approved", "1": "approved", "trash": "declined"}
    assert (advertiser.currency, advertiser.active) == ("EUR", False)


def test_a_token_is_taken_as_it_is_written() -> None:
    (advertiser,) = compiled(changed("token: s3cret ", "token: 007 ")).advertisers
    assert advertiser.token == "007"


@pytest.mark.parametrize(
    ("written", "terms", "back"),
    [
        ("1.20 USD", Terms("fixed", Money(Decimal("1.20"), "USD")), "1.20 USD"),
        ("0 EUR", Terms("fixed", Money(Decimal(0), "EUR")), "0.00 EUR"),
        ("150 JPY", Terms("fixed", Money(Decimal(150), "JPY")), "150 JPY"),
        ("0.0125 USD", Terms("fixed", Money(Decimal("0.0125"), "USD")), "0.0125 USD"),
        ("30%", Terms("share_of_sum", share=Decimal("0.3")), "30%"),
        ("100%", Terms("share_of_sum", share=Decimal("1")), "100%"),
        ("12.5 % of sum", Terms("share_of_sum", share=Decimal("0.125")), "12.5%"),
        ("70% of payout", Terms("share_of_reported", share=Decimal("0.7")), "70% of payout"),
        ("1000%", Terms("share_of_sum", share=Decimal("10")), "1000%"),
    ],
)
def test_terms(written: str, terms: Terms, back: str) -> None:
    (offer,) = compiled(changed("{payout: 1.20 USD}", f"{{payout: 5 USD, revenue: {written}}}")).offers
    assert offer.goals[0].revenue == terms
    assert terms_text(terms) == back


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1.20", "`1.20 USD`"),
        ("$1.20", "write `1.20 USD`"),
        ("'1,20 EUR'", "`1.20 USD`"),
        ("1.20 usd", "write `USD`"),
        ("1.20 USX", "three letters"),
        ("-1 USD", "zero or more"),
        ("1.1234567 USD", "6 behind"),
        ("1234567890123 USD", "12 before"),
        ("1001%", "100% or less"),
        ("30% of revenue", "such as"),
        ("1e3 USD", "such as"),
        ("nothing", "such as"),
    ],
)
def test_terms_that_are_none(written: str, hint: str) -> None:
    (error,) = errors(changed("{payout: 1.20 USD}", f"{{payout: {written}}}"))
    assert (error.code, error.place) == ("catalog_bad_value", "c.yaml:10")
    assert error.field == "offers.acme-vpn.goals.install.payout"
    assert hint in error.hint


def test_a_post_with_headers_and_body() -> None:
    post = """post:
          url: https://p.example/{click_id}
          headers: {Content-Type: application/json, X-Goal: "{goal}"}
          body: '{{"sub": "{sub2}", "attempt": {attempt}}}'"""
    (partner,) = compiled(changed(GET, post)).partners
    (rule,) = partner.rules
    assert (rule.method, rule.url) == ("POST", "https://p.example/{click_id}")
    assert rule.headers == {"Content-Type": "application/json", "X-Goal": "{goal}"}
    assert rule.macros == ("click_id", "goal", "sub2", "attempt")


def test_delivery() -> None:
    delivery = """  geozo:
    delivery: {concurrency: 8, timeout: 10s, connect_timeout: 500ms, retry: [5s, 2m, 1h], jitter: 12.5%}
"""
    (partner,) = compiled(changed("  geozo:\n", delivery)).partners
    assert partner.delivery == Delivery(8, 500, 10_000, (5_000, 120_000, 3_600_000), 0.125)


def test_conditions_are_one_or_a_list() -> None:
    on = "on: {goal: [install, purchase], status: [approved, declined], offer: acme-vpn}"
    (rule,) = compiled(changed(ON, on)).partners[0].rules
    assert (rule.goals, rule.statuses) == (("install", "purchase"), ("approved", "declined"))
    assert rule.offers == ("acme-vpn",)


def test_a_rule_for_refusals() -> None:
    (rule,) = compiled(changed(ON, "on: {verdict: refused}")).partners[0].rules
    assert rule.verdicts == ("refused",)


def test_an_offer_with_everything() -> None:
    text = changed(CAP, CAP + "\n      - {count: conversions, limit: 1_000, per: total, timezone: Asia/Tokyo}")
    text = text.replace("  acme-vpn:\n", "  acme-vpn:\n    access: open\n    click_window: 12h\n    active: false\n")
    text = text.replace(INSTALL, "install: {payout: 1 USD, status: pending, active: false, default: true}")
    (offer,) = compiled(text).offers
    assert (offer.click_window_ms, offer.active) == (12 * 3_600_000, False)
    assert [cap.key for cap in offer.caps] == ["conversions:day:Europe/Berlin", "conversions:total:UTC"]
    goal = offer.goals[0]
    assert (goal.status, goal.active, goal.default) == ("pending", False, True)


MISTAKES = [
    ("waypost: 1", "waypost: 2", "catalog_version", 1, "waypost: 1"),
    ("waypost: 1", "# none", "catalog_missing_key", 1, "`waypost:`"),
    ("waypost: 1", "waypost: 1\nofers: {}", "catalog_unknown_key", 2, "`offers`"),
    ("waypost: 1", "waypost: 1\nusers: {}", "catalog_not_available", 2, "remove it"),
    ("waypost: 1", "waypost: 1\nusers:\n  bob: {}", "catalog_not_available", 2, "remove it"),
    (ADVERTISER, "    tokn: a\n    token: b", "catalog_unknown_key", 4, "`token`"),
    (ADVERTISER, "    active: true", "catalog_missing_key", 3, "`token:`"),
    (ADVERTISER, "    token: {a: b}", "catalog_wrong_type", 4, "quote"),
    (ADVERTISER, "    token:", "catalog_wrong_type", 4, "give a value"),
    (ADVERTISER, "    token: env:A-B", "catalog_bad_value", 4, "env:ACME_TOKEN"),
    (ADVERTISER, "    token: 'file:'", "catalog_bad_value", 4, "file:/run"),
    (ADVERTISER, "    token: ' a'", "catalog_bad_value", 4, "letters"),
    (ADVERTISER, f"    token: {'a' * 600}", "catalog_too_large", 4, "shorten"),
    (ADVERTISER, "    token: a\n    active: no", "catalog_wrong_type", 5, "`false`"),
    (ADVERTISER, "    token: a\n    active: 'true'", "catalog_wrong_type", 5, "quotes"),
    (ADVERTISER, "    token: a\n    currency: usd", "catalog_bad_value", 5, "`USD`"),
    (ADVERTISER, "    token: a\n    parameters: {click: x}", "catalog_unknown_key", 5, "`click_id`"),
    (ADVERTISER, "    token: a\n    parameters: {goal: a b}", "catalog_bad_value", 5, "spaces"),
    (ADVERTISER, "    token: a\n    parameters: {goal: g, sum: g}", "catalog_duplicate", 5, "one meaning"),
    (ADVERTISER, "    token: a\n    statuses: {hold: x}", "catalog_not_available", 5, "remove it"),
    (ADVERTISER, "    token: a\n    statuses: {approved: 1, declined: [2, 1]}", "catalog_duplicate", 5, "one meaning"),
    (ADVERTISER, ADVERTISER + "\n  other: {token: s3cret}", "catalog_duplicate", 5, "its own"),
    ("    advertiser: acme\n", "    advertiser: acne\n", "catalog_unknown_name", 7, "`acme`"),
    ("url: http://127.0.0.1:9000/", "url: ftp://127.0.0.1/", "catalog_template", 8, ""),
    ("{click_id}", "{clickid}", "catalog_template", 8, "click_id"),
    ("s={sub1}\n", "s={payout}\n", "catalog_template", 8, "postback"),
    (INSTALL, "install: {}", "catalog_missing_key", 10, "payout"),
    (INSTALL, "install: 1.20 USD", "catalog_wrong_type", 10, "`payout`"),
    (INSTALL, "in stall: {payout: 1%}\n      install: {payout: 1%}", "catalog_bad_value", 10, "letters"),
    (INSTALL, "install: {payout: 1%, status: hold}", "catalog_not_available", 10, "remove it"),
    (INSTALL, "install: {payout: 1%, status: aproved}", "catalog_bad_value", 10, "`approved`"),
    (
        INSTALL,
        "install: {payout: 1%, default: true}\n      b: {payout: 1%, default: true}",
        "catalog_duplicate",
        11,
        "",
    ),
    (CAP, "      - {count: clicks, limit: 1, per: day}", "catalog_not_available", 13, "remove it"),
    (CAP, "      - {count: conversions, limit: 0, per: day}", "catalog_bad_value", 13, "active: false"),
    (CAP, "      - {count: conversions, limit: many, per: day}", "catalog_wrong_type", 13, "digits"),
    (CAP, "      - {count: conversions, limit: 1, per: days}", "catalog_bad_value", 13, "`day`"),
    (CAP, "      - {count: conversions, per: day}", "catalog_missing_key", 13, "`limit:`"),
    (CAP, CAP.replace("Berlin", "Berln"), "catalog_bad_value", 13, "`Europe/Berlin`"),
    (CAP, CAP.replace("Europe/Berlin", "../etc/passwd"), "catalog_bad_value", 13, "IANA"),
    (CAP, CAP + "\n" + CAP, "catalog_duplicate", 14, "lower"),
    (CAP, CAP.replace("      - ", "      "), "catalog_wrong_type", 13, "`- `"),
    (CAP, CAP + "\n    click_window: 30", "catalog_bad_value", 14, "`30d`"),
    (CAP, CAP + "\n    click_window: 9999d", "catalog_bad_value", 14, ""),
    (CAP, CAP + "\n    access: privat", "catalog_bad_value", 14, "`private`"),
    (CAP, CAP + "\n    access: private", "catalog_bad_value", 21, "`offers.acme-vpn.partners`"),
    (CAP, CAP + "\n    targeting: {contry: DE}", "catalog_unknown_key", 14, "`country`"),
    (CAP, CAP + "\n    fallback: http://a.example/", "catalog_wrong_type", 14, "`offer`"),
    (ON, "on: {goal: instal}", "catalog_unknown_name", 17, "`install`"),
    (ON, "on: {offer: acme_vpn}", "catalog_unknown_name", 17, "`acme-vpn`"),
    (ON, "on: {status: hold}", "catalog_not_available", 17, "remove it"),
    (ON, "on: {status: aproved}", "catalog_bad_value", 17, "`approved`"),
    (ON, "on: {verdict: refusd}", "catalog_bad_value", 17, "`refused`"),
    (ON, "on: {verdict: refused, status: declined}", "catalog_bad_value", 17, "two rules"),
    (ON, "on: [install]", "catalog_wrong_type", 17, "`goal`"),
    (ON, "when: {}", "catalog_unknown_key", 17, "`on`"),
    (GET, "get: http://{sub1}.example/", "catalog_template", 18, "host"),
    (GET, GET + "\n        post: {url: http://a.example/}", "catalog_bad_value", 19, "two rules"),
    (GET, "post: {body: x}", "catalog_missing_key", 18, "`url:`"),
    (GET, "post: {url: http://a.example/, headers: {Host: x}}", "catalog_bad_value", 18, "remove it"),
    (GET, "post: {url: http://a.example/, headers: {Waypost-Id: x}}", "catalog_bad_value", 18, "remove it"),
    (GET, "post: {url: http://a.example/, headers: {a b: x}}", "catalog_bad_value", 18, "RFC 9110"),
    (GET, "post: {url: http://a.example/, headers: {A: x, a: y}}", "catalog_duplicate", 18, "letter case"),
    (GET, "# nothing", "catalog_missing_key", 17, "get:"),
    ("  geozo:\n", "  geozo:\n    delivery: {retry: []}\n", "catalog_missing_key", 16, "schedule"),
    ("  geozo:\n", "  geozo:\n    delivery: {retry: [soon]}\n", "catalog_bad_value", 16, "`15s`"),
    ("  geozo:\n", "  geozo:\n    delivery: {concurrency: 0}\n", "catalog_bad_value", 16, ""),
    ("  geozo:\n", "  geozo:\n    delivery: {jitter: 120%}\n", "catalog_bad_value", 16, "`20%`"),
    ("  geozo:\n", "  geozo:\n    delivery: {timeout: 1h}\n", "catalog_bad_value", 16, ""),
    ("  geozo:\n", "  geozo:\n    preset: meta\n", "catalog_unknown_name", 16, "`meta-capi`"),
    ("  geozo:\n", "  geozo:\n    <<: {active: true}\n", "catalog_unknown_key", 16, "merge keys"),
    (LINK, "  demo: {partner: geoz, offer: acme-vpn}", "catalog_unknown_name", 20, "`geozo`"),
    (LINK, "  demo: {partner: geozo, offer: acmevpn}", "catalog_unknown_name", 20, "`acme-vpn`"),
    (LINK, "  demo: {partner: geozo}", "catalog_missing_key", 20, "`offer:`"),
    (LINK, "  demo: geozo", "catalog_wrong_type", 20, "`partner`"),
    (LINK, LINK + "\n  a/b: {partner: geozo, offer: acme-vpn}", "catalog_bad_value", 21, "letters"),
    (LINK, "  demo: {partner: geozo, targets: []}", "catalog_bad_value", 20, "`- {offer: NAME, weight: 1}`"),
    (LINK, LINK[:-1] + ", targets: [{offer: acme-vpn}]}", "catalog_duplicate", 20, "among the targets"),
    (LINK, LINK[:-1] + ", payouts: {}}", "catalog_not_available", 20, "remove it"),
    (LINK, LINK + "\n" + LINK, "catalog_duplicate", 21, "keep one"),
]


@pytest.mark.parametrize(("before", "after", "code", "line", "hint"), MISTAKES)
def test_each_mistake_has_its_code_place_and_hint(before: str, after: str, code: str, line: int, hint: str) -> None:
    text = changed(before, after)
    (error,) = errors(text)
    assert (error.code, error.place) == (code, f"c.yaml:{line}"), str(error)
    assert hint in error.hint, str(error)


def test_the_message_of_each_mistake() -> None:
    """All of a broken catalog's messages, word for word."""
    with pytest.raises(CatalogErrors) as caught:
        compile_catalog([("broken.yaml", (CATALOGS / "broken.yaml").read_text("utf-8"))], SETTINGS)
    assert str(caught.value) + "\n" == (CATALOGS / "broken.txt").read_text("utf-8")


def test_a_token_is_never_shown() -> None:
    for token in ("' hush-hush'", "{hush-hush: 1}", "hush-hush" * 100, "[[hush-hush]]"):
        found = errors(changed(ADVERTISER, f"    token: {token}"))
        assert found
        assert not any("hush" in str(error) or "hush" in error.value for error in found)


def test_all_mistakes_are_collected_up_to_a_bound() -> None:
    links = "\n".join(f"  l{no}: {{partner: nobody, offer: acme-vpn}}" for no in range(PROBLEMS_MAX + 50))
    with pytest.raises(CatalogErrors) as caught:
        compiled(DESIGN + links)
    assert (len(caught.value.errors), caught.value.more) == (PROBLEMS_MAX, 50)
    assert str(caught.value).endswith("and 50 more")


def test_a_folders_files_are_one_catalog() -> None:
    head, _, tail = DESIGN.partition("partners:")
    catalog = compile_catalog([("a.yaml", head), ("b/c.yaml", "partners:" + tail)], SETTINGS)
    assert catalog.links[0].place == "b/c.yaml:7"
    assert catalog.counts() == compiled(DESIGN).counts()


def test_goals_of_a_rule_must_be_goals_of_its_offers() -> None:
    other = "  other: {advertiser: acme, url: http://a.example/, goals: {lead: {payout: 1%}}}\npartners:\n"
    text = DESIGN.replace("partners:\n", other, 1).replace(ON, "on: {goal: install, offer: other}")
    (error,) = errors(text)
    assert (error.code, error.value) == ("catalog_unknown_name", "install")


def test_an_empty_catalog_lacks_its_version_only() -> None:
    assert [error.code for error in errors("")] == ["catalog_missing_key"]
    assert compiled("waypost: 1\n").counts()["links"] == 0


def test_a_near_name_is_found_among_many() -> None:
    names = [f"partner-{no}" for no in range(20_000)] + ["zeta-media"]
    assert nearest_name("zeta-medai", names) == "zeta-media"
    assert nearest_name("xeta-media", names) == "zeta-media"
    assert nearest_name("qqq", names) == ""


def test_every_key_has_a_meaning_and_says_what_it_takes() -> None:
    assert all(key.meaning and key.takes for key in KEYS)
    assert len({key.path for key in KEYS}) == len(KEYS)
