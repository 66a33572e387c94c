"""What differs between two catalogs, as a manager reads it: topic by topic, in words, without a secret."""

from support.catalog_text import compiled
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.diff_words import CALLS, CLICKS, MONEY, OTHER, TOLD, by_topic

BEFORE = """waypost: 1
advertisers:
  acme: {token: env:ACME}
offers:
  vpn:
    advertiser: acme
    url: https://a.example/?c={click_id}
    goals: {install: {payout: 1 USD}}
    caps: [{count: conversions, limit: 10, per: day, timezone: Europe/Berlin}]
  web: {advertiser: acme, url: "https://w.example/?c={click_id}", goals: {install: {payout: 2 USD}}}
partners:
  geozo:
    postbacks:
      - {on: {status: approved}, get: "https://p.example/?s={sub1}"}
      - {on: {status: declined}, get: "https://p.example/?d={sub1}"}
      - {name: big, if: sum > 10, get: "https://p.example/?b={sub1}"}
links:
  demo: {partner: geozo, targets: [{offer: vpn}, {offer: web}]}
"""


def topics(*changes: tuple[str, str]) -> dict[str, list[str]]:
    after = BEFORE
    for old, new in changes:
        assert after.count(old) == 1, old
        after = after.replace(old, new)
    return by_topic(diff_catalogs(compiled(BEFORE), compiled(after)))


def test_each_change_stands_under_its_topic_in_words() -> None:
    assert topics(
        ("payout: 1 USD", "payout: 1.50 USD, revenue: 2 USD"),
        ("limit: 10, per: day", "limit: 20, per: day"),
        ("  vpn:\n", "  vpn:\n    targeting: {country: [DE, AT], not: {os: iOS}}\n    starts: 2026-05-01\n"),
        ("targets: [{offer: vpn}", "targets: [{offer: vpn, weight: 3}"),
        ("{on: {status: approved},", "{on: {status: approved}, delay: 1h, percent: 80,"),
        ("token: env:ACME", "token: env:OTHER, allow_addresses: 192.0.2.0/24"),
        ("links:\n", "privacy: {ip: none}\nlinks:\n"),
    ) == {
        MONEY: [
            "offer vpn: payout of goal install: 1.00 USD → 1.50 USD",
            "offer vpn: cap per day (Europe/Berlin): 10 → 20",
            "offer vpn: revenue of goal install: 2.00 USD (new)",
        ],
        TOLD: [
            "partner geozo: rule 1, delay: none → 1h",
            "partner geozo: rule 1, share of conversions: 100% → 80%",
        ],
        CLICKS: [
            "offer vpn: country: DE, AT (new)",
            "offer vpn: not os: iOS (new)",
            "offer vpn: starts: 2026-05-01 00:00 UTC (new)",
            "link demo: weight of vpn: 1 → 3",
        ],
        CALLS: ["advertiser acme: token changed", "advertiser acme: allow addresses: 192.0.2.0/24 (new)"],
        OTHER: ["privacy: ip: truncated → none"],
    }


def test_what_comes_and_goes_says_what_it_is() -> None:
    new = "  more: {partner: geozo, offer: web}\n"
    assert topics(("links:\n", f"  other: {{}}\nlinks:\n{new}")) == {
        TOLD: ["partner other added: 0 rules"],
        CLICKS: ["link more added: geozo's way to web"],
    }
    changes = diff_catalogs(compiled(BEFORE.replace("links:\n", f"links:\n{new}")), compiled(BEFORE))
    assert by_topic(changes) == {CLICKS: ["link more removed: geozo's way to web"]}


def test_a_rule_between_others_leaves_them_what_they_are() -> None:
    first = "      - {on: {status: approved}"
    added = '      - {on: {status: pending}, get: "https://p.example/?n=1"}\n'
    assert topics((first, added + first)) == {TOLD: ["partner geozo: rule 1 (new): GET https://p.example/?n=1"]}
    assert topics(('      - {on: {status: approved}, get: "https://p.example/?s={sub1}"}\n', "")) == {
        TOLD: ["partner geozo: rule 1: GET https://p.example/?s={sub1} (removed)"]
    }
    assert topics(("sum > 10", "sum > 20")) == {TOLD: ["partner geozo: rule big, if: sum > 10 → sum > 20"]}


def test_a_rule_that_changes_beside_a_new_one_is_known_by_what_it_sends() -> None:
    first = "      - {on: {status: approved}"
    added = '      - {on: {status: pending}, get: "https://p.example/?n=1"}\n'
    found = topics((first, f"{added}{first}, first_only: true"))
    assert found == {
        TOLD: [
            "partner geozo: rule 1, first only: false → true",
            "partner geozo: rule 1 (new): GET https://p.example/?n=1",
        ]
    }


def test_a_secret_in_an_address_is_not_shown() -> None:
    found = topics(("?s={sub1}", "?s={sub1}&api_key=0123456789abcdef"))
    assert found == {
        TOLD: ["partner geozo: rule 1, url: https://p.example/?s={sub1} → https://p.example/?s={sub1}&api_key=***"]
    }
    before, after = (compiled(BEFORE.replace("?s=", f"?api_key={key * 16}&s=")) for key in "ab")
    assert by_topic(diff_catalogs(before, after)) == {TOLD: ["partner geozo: rule 1, url changed"]}
