"""Cases of a catalog: what they find, what they say, and that they need neither secrets nor a network."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from waypost import assembly
from waypost.catalog.problems import CatalogErrors
from waypost.cli.main import app
from waypost.engines.sqlite.catalog_files import read_sources
from waypost.errors import WaypostError
from waypost.runtime.case_check import Mismatch, matches
from waypost.settings import load_settings

EXAMPLE = Path(assembly.__file__).parent / "cli" / "example" / "catalog.yaml"
CATALOG = """
waypost: 1
advertisers:
  acme: {token: env:ACME_TOKEN_THAT_NOBODY_SET}
  signer:
    token: t0ken-of-signer
    allow_addresses: 198.51.100.0/24
    signature: {secret: env:SIGNERS_KEY_THAT_NOBODY_SET}
    wrong_token: 200
offers:
  phone:
    advertiser: acme
    url: https://phone.example/?c={click_id}
    targeting: {country: [DE, AT]}
    goals: {install: {payout: 2.00 EUR}}
    caps: [{count: conversions, limit: 1, per: day}]
  desk:
    advertiser: acme
    url: https://desk.example/?c={click_id}&s={sub1}
    goals: {install: {payout: 1.00 EUR}, sale: {payout: 10%}}
  safe:
    advertiser: signer
    url: https://safe.example/?c={click_id}
    goals: {install: {payout: 3.00 EUR}}
partners:
  geozo:
    postbacks:
      - name: installs
        on: {goal: install, status: approved}
        delay: 1h
        post:
          url: https://geozo.example/pb?key={secret('env:GEOZO_KEY_THAT_NOBODY_SET')}
          headers: {X-Sub: "{sub1}"}
          json: {click: "{click_id}", amount: "{payout|number}", tags: [a, "{goal}"]}
      - {name: big, on: {goal: sale}, if: sum > 100, get: "https://geozo.example/big?sum={sum}"}
links:
  both: {partner: geozo, rotation: order, targets: [{offer: phone}, {offer: desk}]}
  safe: {partner: geozo, offer: safe}
"""


def problems_of(tmp_path: Path, steps: str, *, name: str = "catalog.test.yaml", text: str = CATALOG) -> list[Mismatch]:
    """What one case of these steps finds to be otherwise."""
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(text)
    (tmp_path / name).write_text("cases:\n- name: it\n  steps:\n" + steps)
    (result,) = assembly.run_cases(catalog, [], load_settings(None, {}))
    assert result.name == "it" and result.place == f"{name}:2"
    return list(result.problems)


def test_the_example_catalog_does_what_its_cases_say() -> None:
    results = assembly.run_cases(EXAMPLE, [], load_settings(None, {}))
    assert len(results) >= 5
    assert [problem for result in results for problem in result.problems] == []


CLICKS = """
  - click: {link: both, facts: {country: DE}, query: {sub1: one}, name: german}
    expect: {http: 302, offer: phone, url: "https://phone.example/?c=$german", skipped: {}}
  - postback: {query: {click_id: $german, goal: install}}
    expect: {http: 200, verdict: new, status: approved, payout: 2 EUR, fails: none}
  - click: {link: both, facts: {country: DE}, query: {sub1: two}}
    expect: {offer: desk, skipped: {phone: cap_reached}, url: "https://desk.example/?c=$click_id&s=two"}
  - click: {link: both, facts: {country: FR}, query: sub1=three}
    expect: {offer: desk, skipped: {phone: country}}
  - click: {link: both, facts: {country: DE}, after: 1d}
    expect: {offer: phone}
  - postback: {query: {click_id: $german, goal: install, txn_id: T2}, after: 1ms}
    expect: {verdict: new}
  - postback: {query: {click_id: $click_id, goal: install}, after: 1ms}
    expect: {verdict: refused, code: cap_reached, fails: caps, status: none, sends: none}
"""


def test_clicks_meet_targeting_and_caps_as_time_goes_on(tmp_path: Path) -> None:
    assert problems_of(tmp_path, CLICKS) == []


SENDS = """
  - click: {offer: desk, partner: geozo, query: {sub1: 'a "b"'}}
  - postback: {url: 'https://track.example/postback?click_id=$click_id&goal=install'}
    expect:
      sends:
      - partner: geozo
        rule: installs
        post: https://geozo.example/pb?key=env%3AGEOZO_KEY_THAT_NOBODY_SET
        headers: {x-sub: 'a "b"', waypost-id: "p$any.1"}
        json: {click: $click_id, amount: 1.00, tags: [a, install]}
        body: '{"click":"$click_id",$any}'
        delay: 1h
  - postback: {form: {click_id: $click_id, goal: sale, sum: 200}}
    expect: {payout: 20.00 USD, sends: [{rule: big, get: 'https://geozo.example/big?sum=200.00', delay: none}]}
"""


def test_what_partners_are_sent_is_compared_to_the_byte(tmp_path: Path) -> None:
    assert problems_of(tmp_path, SENDS) == []


CORRECTED = """
  - click: {offer: desk, partner: books, query: {sub1: abc}}
  - postback: {query: {click_id: $click_id, goal: sale, sum: 200, txn_id: T}}
    expect: {sends: [{rule: told, get: 'https://books.example/?sum=200.00&is=approved&was='}]}
  - postback: {query: {click_id: $click_id, goal: sale, sum: 150, txn_id: T}}
    expect:
      verdict: updated
      payout: 15.00 USD
      sends:
      - get: https://books.example/?sum=150.00&is=approved&was=p$any.1
        headers: {waypost-id: p$any.2, waypost-corrects: p$any.1, waypost-attempt: "1"}
  - postback: {query: {click_id: $click_id, goal: sale, status: declined, txn_id: T}}
    expect: {sends: [{get: 'https://books.example/?sum=150.00&is=declined&was=p$any.2'}]}
  - postback: {query: {click_id: $click_id, goal: sale, status: declined, txn_id: T}}
    expect: {verdict: duplicate, sends: none}
"""


def test_a_correction_is_one_of_what_is_sent(tmp_path: Path) -> None:
    books = """
  books:
    delivery: {corrections: true}
    postbacks:
      - name: told
        on: {goal: sale, status: approved}
        get: https://books.example/?sum={sum}&is={status}&was={corrects}
"""
    text = CATALOG.replace("partners:", f"partners:{books.rstrip()}").replace(
        "links:", "links:\n  books: {partner: books, offer: desk}"
    )
    assert problems_of(tmp_path, CORRECTED, text=text) == []


def test_each_thing_that_differs_is_found_with_its_line_and_reason(tmp_path: Path) -> None:
    steps = """
  - click: {offer: desk, partner: geozo}
    expect: {offer: phone, http: 307}
  - postback: {query: {click_id: $click_id, goal: install}}
    expect: {payout: 1.01 EUR, sends: none}
  - postback: {query: {click_id: $click_id, goal: sale, sum: 50}}
    expect:
      sends:
      - {partner: geozo, rule: big}
  - postback: {query: {click_id: $click_id, goal: install, status: declined}}
    expect: {status: approved, fails: [caps]}
  - postback: {query: {click_id: $click_id, goal: nothing}}
"""
    found = problems_of(tmp_path, steps.lstrip("\n"))
    assert [(one.place.rpartition(":")[2], one.what) for one in found] == [
        ("5", "http"),
        ("5", "offer"),
        ("7", "payout"),
        ("7", "postback"),
        ("11", "postback"),
        ("13", "status"),
        ("13", "checks that fail"),
    ]
    by_place = {(one.place.rpartition(":")[2], one.what): one for one in found}
    assert (by_place["5", "offer"].expected, by_place["5", "offer"].got) == ("phone", "desk")
    assert (by_place["7", "payout"].expected, by_place["7", "payout"].got) == ("1.01 EUR", "1.00 EUR")
    sent = by_place["7", "postback"]
    assert sent.expected == "none" and sent.got.startswith("geozo (rule installs): POST https://geozo.example/pb?key=")
    missed = by_place["11", "postback"]
    assert missed.got == "not sent"
    assert missed.why[-1].startswith("geozo's rule big (catalog.yaml:")
    assert "not so: sum > 100 (sum is 50.00)" in missed.why[-1]
    assert by_place["13", "checks that fail"].expected == "caps"


def test_a_step_that_expects_nothing_is_to_be_accepted(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, "  - postback: {query: {click_id: x}, advertiser: acme, token: none}\n")
    assert (found.what, found.expected, found.got) == ("postback", "accepted", "403 missing_token")
    (found,) = problems_of(tmp_path, "  - click: {url: /c/nowhere}\n")
    assert (found.what, found.got) == ("click", "404 unknown_link")


PROOF = """
  - click: safe
  - postback: {query: {click_id: $click_id, goal: install}}
    expect: {http: 200, verdict: new}
  - postback: {query: {click_id: $click_id, goal: install}, address: 192.0.2.1}
    expect: {http: 200, code: address_not_allowed, sends: none}
  - postback: {query: {click_id: $click_id, goal: install}, token: t0ken-of-signer}
    expect: {http: 200, code: missing_signature}
  - postback: {query: {click_id: $click_id, goal: install}, advertiser: acme}
    expect: {verdict: refused, code: wrong_advertiser, fails: [advertiser_matches]}
  - postback: {query: {click_id: $click_id, goal: install}, token: 'env:ACME_TOKEN_THAT_NOBODY_SET'}
    expect: {verdict: refused, code: wrong_advertiser}
"""


def test_calls_prove_who_they_are_from_without_any_secret(tmp_path: Path) -> None:
    found = problems_of(tmp_path, PROOF)
    assert found == []


WAYS = """
  - click: {offer: desk, partner: geozo, query: {sub1: 'a&b=c', mode: json}, method: HEAD}
    expect: {http: 200}
  - click: {url: /c?offer=desk&partner=geozo&sub1=Zürich}
    expect: {http: 302, url: 'https://desk.example/?c=$click_id&s=Z%C3%BCrich'}
  - click: {offer: desk, partner: geozo, user_agent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)'}
  - postback: {json: {click_id: $click_id, goal: sale, sum: 12.5, token: 'env:ACME_TOKEN_THAT_NOBODY_SET'}}
    expect: {http: 200, verdict: new, goal: sale, partner: geozo, sum: 12.50 USD, payout: 1.25 USD, revenue: 1.25 USD}
  - postback: {json: {click_id: $click_id, goal: sale, token: wrong}}
    expect: {http: 200, verdict: refused, code: bad_token, answer: '{"status":1,"receipt":"$receipt"}'}
  - postback: {body: 'click_id=$click_id&goal=lost', headers: {Content-Type: application/x-www-form-urlencoded}}
    expect: {verdict: refused, code: goal_unknown, fails: [goal_known]}
  - postback: {query: {goal: install}}
    expect: {verdict: refused, code: click_id_missing}
"""


def test_requests_may_be_made_in_every_way_that_a_door_knows(tmp_path: Path) -> None:
    assert problems_of(tmp_path, WAYS) == []


def test_cases_of_one_file_know_nothing_of_each_other(tmp_path: Path) -> None:
    steps = "  - click: both\n  - postback: {query: {click_id: $click_id, goal: install, txn_id: T}}\n"
    expect = "    expect: {verdict: new}\n"
    assert problems_of(tmp_path, steps + expect) == []
    (tmp_path / "catalog.test.yaml").write_text("cases:\n" + 2 * ("- name: it\n  steps:\n" + steps + expect))
    results = assembly.run_cases(tmp_path / "catalog.yaml", [], load_settings(None, {}))
    assert [result.problems for result in results] == [(), ()]


def test_the_same_cases_come_out_the_same_at_every_run(tmp_path: Path) -> None:
    steps = "  - click: both\n    expect: {url: nowhere}\n"
    assert problems_of(tmp_path, steps) == problems_of(tmp_path, steps)


@pytest.mark.parametrize(
    ("steps", "line", "code", "said"),
    [
        ("  - clik: both", 4, "catalog_unknown_key", "did you mean `click`?"),
        ("  - click: bth", 4, "catalog_unknown_name", "did you mean `both`?"),
        ("  - {click: both, postback: {}}", 4, "catalog_missing_key", "a click or a postback"),
        ("  - click: {offer: desk}", 4, "catalog_missing_key", "no partner"),
        ("  - click: {link: both, facts: {contry: DE}}", 4, "catalog_unknown_key", "did you mean `country`?"),
        ("  - click: both\n    expect: {code: link_inactiv}", 5, "catalog_bad_value", "did you mean `link_inactive`?"),
        ("  - postback: {}\n    expect: {fails: cap}", 5, "catalog_bad_value", "did you mean `caps`?"),
        ("  - postback: {}\n    expect: {payout: '1.2'}", 5, "catalog_bad_value", "such as `1.20 USD`"),
        ("  - click: {link: both, at: 2026-02-30}", 4, "catalog_bad_value", "is no time"),
        ("  - click: both\n  - click: {link: both, at: 2026-01-01}", 5, "catalog_bad_value", "before the step above"),
        ("  - click: {link: both, name: any}", 4, "catalog_bad_value", "cannot name a click"),
        ("  - click: {link: both, query: sub1=a b}", 4, "catalog_bad_value", "write `%20`"),
        ("   []", 4, "catalog_missing_key", "is empty"),
    ],
)
def test_what_is_wrong_in_a_case_is_said_with_its_line(
    tmp_path: Path, steps: str, line: int, code: str, said: str
) -> None:
    with pytest.raises(CatalogErrors) as refused:
        problems_of(tmp_path, steps + "\n")
    error = refused.value.errors[0]
    assert (error.place, error.code) == (f"catalog.test.yaml:{line}", code)
    assert said in f"{error.detail} {error.hint}"


def test_files_of_cases_are_no_part_of_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    for name in ("a.yaml", "b.test.yaml", "tests/c.yaml"):
        (tmp_path / name).write_text("cases: []" if name != "a.yaml" else CATALOG)
    assert [name for name, _ in read_sources(tmp_path, 1 << 20)] == ["a.yaml"]
    assert [name for name, _ in read_sources(tmp_path / "b.test.yaml", 1 << 20)] == ["b.test.yaml"]


def test_who_names_the_catalog_in_place_of_cases_is_told_how(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    with pytest.raises(CatalogErrors) as refused:
        assembly.run_cases(tmp_path / "catalog.yaml", [tmp_path / "catalog.yaml"], load_settings(None, {}))
    (error,) = refused.value.errors
    assert (error.place, error.hint) == ("catalog.yaml:2", "`waypost catalog test --catalog catalog.yaml`")


def test_a_catalog_without_cases_is_told_where_to_write_them(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    with pytest.raises(WaypostError) as refused:
        assembly.run_cases(tmp_path / "catalog.yaml", [], load_settings(None, {}))
    assert refused.value.code == "catalog_not_found" and "catalog.test.yaml" in refused.value.hint


def test_the_command_says_what_differs_and_exits_with_1(tmp_path: Path) -> None:
    steps = "  - click: both\n    expect: {url: https://desk.example/?c=none}\n"
    problems_of(tmp_path, steps)
    told = CliRunner().invoke(app, ["catalog", "test", "--catalog", str(tmp_path / "catalog.yaml")])
    assert told.exit_code == 1
    assert f"FAIL  it ({tmp_path}/catalog.test.yaml:2)" in told.stdout
    assert "expected  https://desk.example/?c=none" in told.stdout
    assert "because   phone was skipped: country" in told.stdout
    asked = ["catalog", "test", "--catalog", str(tmp_path / "catalog.yaml"), "--format", "json"]
    answer = json.loads(CliRunner().invoke(app, asked).stdout)
    assert (answer["ok"], answer["failed"]) == (False, 1)
    assert answer["cases"][0]["problems"][0]["what"] == "url"
    right = CliRunner().invoke(app, ["catalog", "test", "--catalog", str(EXAMPLE)])
    assert right.exit_code == 0 and right.stdout.endswith("all as expected\n")


@pytest.mark.parametrize(
    ("pattern", "text", "same"),
    [
        ("a$anyc", "abc", True),
        ("a$anyc", "ac", True),
        ("$any", "", True),
        ("a$anyb$anyc", "a-b-b-c", True),
        ("a$anya", "a", False),
        ("a$anyx$anyc", "abc", False),
        ("$click_id", "0", True),
        ("$clock", "0", False),
        (".*", "abc", False),
    ],
)
def test_any_stands_for_whatever_is_there(pattern: str, text: str, same: bool) -> None:
    assert matches(pattern, text, {"click_id": "0"}) is same
