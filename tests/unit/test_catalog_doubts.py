"""What `waypost catalog check` doubts: what is right and yet unlikely to be meant."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from support.catalog_text import DESIGN, changed, compiled
from waypost import assembly
from waypost.catalog.condition_bounds import bounds_of
from waypost.catalog.doubt import DOUBTS, Doubt
from waypost.catalog.doubts import doubts_about
from waypost.cli.main import app
from waypost.settings import VisitorSettings, load_settings

CAP = "      - {count: conversions, limit: 100000, per: day, timezone: Europe/Berlin}"
VISITORS = load_settings(environment={}).visitors
EVERYWHERE = msgspec.structs.replace(VISITORS, city_file="c.mmdb", isp_file="i.mmdb")
DOC = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
EXAMPLE = Path(assembly.__file__).parent / "cli" / "example" / "catalog.yaml"


def found(more: str, **files: str) -> list[str]:
    settings: VisitorSettings = msgspec.structs.replace(VISITORS, **files)
    text = changed(CAP, f"{CAP}\n    {more}") if more else DESIGN
    return [str(doubt) for doubt in doubts_about(compiled(text), settings)]


def doubts(text: str) -> list[Doubt]:
    return doubts_about(compiled(text), EVERYWHERE)


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ("targeting: {country: DE}", "city_file"),
        ("targeting: {isp: 'T*'}", "isp_file"),
        ("if: city == 'Berlin' and device == 'tv'", "city_file"),
    ],
)
def test_a_rule_that_asks_for_what_no_file_says_is_doubted(more: str, setting: str) -> None:
    (doubt,) = found(more)
    assert doubt.startswith("offers.acme-vpn: asks for") and setting in doubt and "[fact_unknown]" in doubt
    assert found(more, **{setting: "there.mmdb"}) == []


def test_a_macro_that_asks_for_what_no_file_says_is_doubted() -> None:
    text = DESIGN.replace("cid={sub1}", "cid={sub1}&c={country}").replace("&s={sub1}", "&isp={isp}")
    found = [doubt.subject for doubt in doubts_about(compiled(text), VISITORS)]
    assert found == ["partners.geozo", "offers.acme-vpn"]
    assert doubts(text) == []


@pytest.mark.parametrize("more", ["", "targeting: {os: iOS}", "targeting: {not: {country: RU}}"])
def test_other_rules_are_not(more: str) -> None:
    assert found(more) == []


# Two partners, two advertisers; `other` has no links.
WORLD = """waypost: 1
advertisers:
  acme: {token: s3cret-of-acme}
  rest: {token: s3cret-of-rest, active: false}
offers:
  vpn:
    advertiser: acme
    url: https://a.example/?c={click_id}
    goals: {install: {payout: 1 USD}, old: {payout: 1 USD, active: false}}
    OFFER
  shoes: {advertiser: acme, url: "https://b.example/?c={click_id}", goals: {sale: {payout: 1 USD}}}
  off: {advertiser: acme, active: false, url: https://c.example/, goals: {off: {payout: 1 USD}}}
  asleep: {advertiser: rest, url: "https://d.example/?c={click_id}", goals: {nap: {payout: 1 USD}}}
partners:
  geozo: {postbacks: [GEOZO]}
  other: {postbacks: [OTHER]}
links:
  one: {partner: geozo, offer: vpn, fallback: {group: all}}
  two: {partner: geozo, offer: vpn}
  LINK
groups: {all: {offers: [shoes]}}
"""
GET = "get: 'https://p.example/?s={sub1}'"


def world(*, offer: str = "active: true", geozo: str = "", other: str = "", link: str = "# no more") -> list[Doubt]:
    text = WORLD.replace("OFFER", offer).replace("GEOZO", geozo).replace("OTHER", other).replace("LINK", link)
    return doubts(text)


def test_the_world_of_these_tests_leaves_no_doubt() -> None:
    assert world(geozo=f"{{{GET}}}", other=f"{{for: all, {GET}}}") == []


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("percent: 0", "`percent: 0` lets no conversion through"),
        ("on: {goal: old}", "no offer that geozo's links lead to has an active goal old"),
        ("on: {offer: off}", "none of geozo's links leads to offer off"),
        ("on: {advertiser: rest}", "none of geozo's links leads to an offer of rest"),
        ("on: {goal: install, link: one}", ""),
        ("on: {goal: sale, link: one}", ""),  # by the group behind
        ("on: {goal: sale, link: two}", "no offer that geozo's links lead to has an active goal sale"),
        ("if: goal == 'sale'", ""),
        ("if: goal == 'nap'", "no offer that geozo's links lead to has an active goal nap"),
        ("on: {goal: install}, if: goal == 'sale'", "`on` wants goal install, `if` wants sale"),
        ("on: {country: DE}, if: \"country in ('AT', 'CH')\"", "`on` wants country DE, `if` wants AT or CH"),
        ("on: {country: DE}, if: \"country in ('AT', 'DE') and sum > 3\"", ""),
        ("if: sum > 100 and sum <= 10", "its condition never holds: nothing is left for `sum`"),
        ("if: sub1 == 'a' and sub1 == 'b'", "its condition never holds: nothing is left for `sub1`"),
        ("if: sub1 and not sub1", "its condition never holds: nothing is left for `sub1`"),
        ("if: sum > 100 or sum <= 10", ""),
        ("for: all, on: {partner: other}", "none of the active links leads to an offer that takes clicks"),
        ("for: all, on: {partner: geozo}", ""),
        ("on: {verdict: refused}", ""),
    ],
)
def test_a_rule_that_nothing_fires_is_doubted(rule: str, reason: str) -> None:
    assert [(doubt.code, doubt.detail) for doubt in world(geozo=f"{{name: r, {rule}, {GET}}}")] == (
        [("rule_never_fires", reason)] if reason else []
    )


def test_a_rule_of_a_partner_without_links_is_doubted_and_names_its_line() -> None:
    (doubt,) = world(other=f"{{{GET}}}")
    assert str(doubt).startswith("c.yaml:16: partners.other, rule 1: it looks at other's own conversions")
    assert doubt.code == "rule_never_fires" and "`for: all`?" in doubt.detail
    (doubt,) = world(other=f"{{on: {{link: one}}, {GET}}}", link="three: {partner: other, offer: vpn}")
    assert doubt.detail == "link one is none of other's links"


def test_rules_that_say_the_same_twice_are_doubted() -> None:
    (doubt,) = world(geozo=f"{{name: a, {GET}}}, {{name: b, {GET}}}, {{on: {{status: declined}}, {GET}}}")
    assert (doubt.code, doubt.subject) == ("rule_twice", "partners.geozo, rule b")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("get: 'https://p.example/?e={click.email}'", "click.email"),
        ("get: 'https://p.example/?e={code}'", "code"),
        ("get: 'https://p.example/?a=1{?code}&e=1{end}'", "code"),
        ("on: {verdict: new}, get: 'https://p.example/?e={status_before}'", "status_before"),
        ("on: {verdict: refused}, get: 'https://p.example/?e={payout}'", "payout"),
        ("on: {verdict: refused}, get: 'https://p.example/?e={code}'", ""),
    ],
)
def test_a_macro_that_is_always_empty_is_doubted(rule: str, name: str) -> None:
    found = [(doubt.code, doubt.detail.partition("}")[0]) for doubt in world(geozo=f"{{{rule}}}")]
    assert found == ([("macro_always_empty", f"{{{name}")] if name else [])


@pytest.mark.parametrize(
    ("url", "is_doubted"),
    [
        ("https://a.example/", True),
        ("https://a.example/?c={sub1}", True),
        ("https://a.example/?a=1{?sub1}&c={click_id}{end}", False),
    ],
)
def test_an_offer_without_the_clicks_id_is_doubted(url: str, is_doubted: bool) -> None:
    text = DESIGN.replace("http://127.0.0.1:9000/land?cid={click_id}&s={sub1}", url)
    assert text != DESIGN
    assert [doubt.code for doubt in doubts(text)] == (["no_click_id"] if is_doubted else [])


@pytest.mark.parametrize(
    ("link", "detail"),
    [
        ("dead: {partner: geozo, offer: off}", "off takes no clicks: its clicks are refused"),
        ("dead: {partner: geozo, offer: asleep}", "asleep takes no clicks: its clicks are refused"),
        ("dead: {partner: geozo, offer: off, fallback: blank}", "off takes no clicks: its clicks get a blank page"),
        ("off: {partner: geozo, offer: off, active: false}", ""),
        ("saved: {partner: geozo, offer: off, fallback: {offer: vpn}}", ""),
        ("mixed: {partner: geozo, targets: [{offer: off}, {offer: vpn}]}", ""),
        (
            "never: {partner: geozo, targets: [{offer: vpn, if: sub1 == 'a' and sub1 == 'b'}]}",
            "vpn takes no clicks: its clicks get a blank page",
        ),
    ],
)
def test_a_link_that_leads_nowhere_is_doubted(link: str, detail: str) -> None:
    assert [(d.code, d.detail) for d in world(link=link)] == ([("link_nowhere", detail)] if detail else [])


def test_links_to_an_offer_that_has_ended_are_doubted_from_then_on() -> None:
    text = WORLD.replace("OFFER", "ends: 2026-05-01").replace("GEOZO", "").replace("OTHER", "").replace("  LINK\n", "")
    ended_ms = 1_777_680_000_000  # 2026-05-02
    assert doubts_about(compiled(text), EVERYWHERE, ended_ms - 1) == []
    (doubt,) = doubts_about(compiled(text), EVERYWHERE, ended_ms)
    assert (doubt.code, doubt.subject) == ("link_nowhere", "links.two")  # the other one has a group behind


@pytest.mark.parametrize(
    ("caps", "detail"),
    [
        ("{limit: 10, per: day}, {limit: 5, per: total}", "10 a day cannot be reached: 5 in total is the most"),
        ("{limit: 9, per: hour}, {limit: 8, per: week}", "9 a hour cannot be reached: 8 in a week is the most"),
        ("{limit: 10, per: day}, {limit: 10, per: month}", ""),
        ("{limit: 1, per: day}, {limit: 10, per: hour}", "10 a hour cannot be reached: 1 in a day is the most"),
    ],
)
def test_caps_that_hinder_each_other_are_doubted(caps: str, detail: str) -> None:
    listed = caps.replace("{limit", "{count: conversions, limit")
    found = [(doubt.code, doubt.detail.partition(" (")[0]) for doubt in world(offer=f"caps: [{listed}]")]
    assert found == ([("cap_unreachable", detail)] if detail else [])


def test_a_group_that_nothing_falls_back_on_is_doubted() -> None:
    text = WORLD.replace("OFFER", "active: true").replace("GEOZO", "").replace("OTHER", "").replace("  LINK\n", "")
    (doubt,) = doubts(text.replace(", fallback: {group: all}", ""))
    assert (doubt.code, doubt.subject) == ("group_unused", "groups.all")


@pytest.mark.parametrize(
    ("request_", "is_doubted"),
    [
        ("get: 'https://p.example/?t=s3cret-of-acme&s={sub1}'", True),
        ("get: 'https://p.example/?s={sub1}&api_key=0123456789abcdef'", True),
        ("get: 'https://p.example/?s={sub1}{?sub2}&secret=0123456789{end}'", True),
        ("post: {url: 'https://p.example/', headers: {Authorization: Bearer 0123456789abcdef}}", True),
        ("post: {url: 'https://p.example/', json: {access_token: 0123456789abcdef, a: '{sub1}'}}", True),
        ("post: {url: 'https://p.example/', form: {token: 0123456789abcdef}}", True),
        ("get: \"https://p.example/?api_key={secret('env:KEY')}\"", False),
        ("get: 'https://p.example/?token={sub1}&key=short'", False),
        ("get: 'https://p.example/?ckey=0123456789&keyword=0123456789'", False),
        ("post: {url: 'https://p.example/', headers: {Content-Type: application/x-long-type}, body: x}", False),
    ],
)
def test_a_secret_in_a_template_is_doubted_and_not_shown(request_: str, is_doubted: bool) -> None:
    found = world(geozo=f"{{{request_}}}")
    assert [doubt.code for doubt in found] == (["secret_in_template"] if is_doubted else [])
    assert not any(secret in str(doubt) for doubt in found for secret in ("s3cret-of", "0123456789"))


def test_the_catalogs_that_are_shipped_leave_no_doubt() -> None:
    for path in (EXAMPLE, EXAMPLE.parents[4] / "examples" / "catalog"):
        compiled_ = assembly.check_catalog(path, load_settings(None, {}), secrets=False)
        assert doubts_about(compiled_, VISITORS) == []


@pytest.mark.parametrize("code", DOUBTS)
def test_each_kind_is_documented(code: str) -> None:
    assert f"| `{code}` | {DOUBTS[code].meaning} | {DOUBTS[code].remedy} |" in DOC.splitlines()


def test_strict_makes_doubts_errors(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(DESIGN.replace("cid={click_id}", "cid={sub2}"))
    plain = CliRunner().invoke(app, ["catalog", "check", str(file)])
    assert plain.exit_code == 0 and plain.stdout.endswith("1 doubt\n")
    assert f"{file}:" in plain.stdout and "[no_click_id]" in plain.stdout
    strict = CliRunner().invoke(app, ["catalog", "check", str(file), "--strict", "--format", "json"])
    answer = json.loads(strict.stdout)
    assert strict.exit_code == 1 and answer["ok"] is False
    assert (answer["doubts"][0]["code"], answer["doubts"][0]["place"].startswith(f"{file}:")) == ("no_click_id", True)


@pytest.mark.parametrize(
    ("condition", "values", "is_contradiction"),
    [
        ("goal == 'a'", {"goal": {"a"}}, False),
        ("goal == 'a' or goal == 'b'", {}, False),
        ("goal in ('a', 'b') and goal != 'a' and goal != 'b'", {}, True),
        ("goal|lower == 'a' and goal == 'B'", {"goal": {"B"}}, False),
        ("'a' == goal", {"goal": {"a"}}, False),
        ("goal == sub1", {}, False),
        ("goal in ('a', sub1)", {}, False),
        ("5 < sum and sum < 5", {}, True),
        ("5 <= sum and sum <= 5.0", {}, False),
        ("sum == 5 and sum >= 5.00", {"sum": {"5"}}, False),
        ("not (sum > 5) and sum > 6", {}, False),
    ],
)
def test_what_a_condition_leaves_open(condition: str, values: dict[str, set[str]], is_contradiction: bool) -> None:
    bounds = bounds_of(condition)
    assert bool(bounds.contradiction) is is_contradiction
    assert is_contradiction or bounds.values == values
