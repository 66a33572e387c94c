"""`preset:` and `with:` in a catalog: what is lent, what wins, and every mistake with its place and hint."""

import pytest

from support.catalog_text import SETTINGS, compiled, errors
from waypost.catalog.compile import compile_catalog
from waypost.catalog.preset import read_preset
from waypost.catalog.presets import Shelf

GOALS = """
offers:
  shop:
    advertiser: acme
    url: https://shop.example/?c={click_id}
    goals: {install: {payout: 1 USD}, deposit: {payout: 2 USD}}
"""
HEAD = "waypost: 1\nadvertisers: {acme: {token: s3cret}}\npartners:\n"


def partner(text: str, more: str = "") -> str:
    return HEAD + "  one:\n" + "".join(f"    {line}\n" for line in text.splitlines()) + more


def test_own_keys_win_and_own_rules_replace_and_add() -> None:
    text = partner(
        "preset: adx1\n"
        "delivery: {concurrency: 3}\n"
        "postbacks:\n"
        "  - name: mine\n    get: https://a.example/?x={sub1}\n"
        "  - name: conversion\n    on: {status: pending}\n    get: https://b.example/"
    )
    found = compiled(text).partners[0]
    assert [(rule.no, rule.name, rule.url, rule.statuses) for rule in found.rules] == [
        (1, "conversion", "https://b.example/", ("pending",)),
        (2, "mine", "https://a.example/?x={sub1}", ()),
    ]
    assert found.delivery.concurrency == 3


def test_mappings_are_merged_key_by_key() -> None:
    text = "waypost: 1\nadvertisers:\n  net: {preset: kma, token: t, statuses: {pending: [P, wait]}, currency: EUR}\n"
    found = compiled(text).advertisers[0]
    assert (found.statuses["wait"], found.statuses["a"], found.statuses["f"]) == ("pending", "approved", "declined")
    assert (found.currency, found.aliases) == ("EUR", ("keitaro",))


def test_events_are_those_of_goals_that_the_catalog_has_and_the_users_own() -> None:
    preset = "preset: meta-capi\nwith: {pixel_id: '123456', access_token: env:META%s}"
    rule = compiled(partner(preset % "", GOALS)).partners[0].rules[0]
    assert rule.events == {"deposit": "Purchase", "install": "Lead"}
    rule = compiled(partner(preset % ", events: {install: AppInstall}", GOALS)).partners[0].rules[0]
    assert rule.events == {"deposit": "Purchase", "install": "AppInstall"}


def test_values_cannot_leave_their_place() -> None:
    text = partner("preset: rivertraffic\nwith: {account: 'a.b-c'}")
    assert compiled(text).partners[0].rules[0].url.startswith("https://callback.rivertraffic.com/callback/a.b-c?")
    page = "preset: snap-capi\nwith: {pixel_id: 4c1f8a52-0b1e-4a5e-9c0e-8f1a2b3c4d5e, access_token: env:S, page: '%s'}"
    rule = compiled(partner(page % 'https://s.example/{x}"', GOALS)).partners[0].rules[0]
    assert '"event_source_url":"https://s.example/{{x}}\\""' in rule.body
    assert "{secret('env:S')}" in rule.url


KEITARO = "preset: keitaro\nwith: {host: trk.example, key: %s}"
MISTAKES = [
    ("preset: adx", "catalog_unknown_name", 5, "partners.one.preset", "`adx1`"),
    ("preset: admitad", "catalog_bad_value", 5, "partners.one.preset", "`advertisers`"),
    ("preset: [adx1]", "catalog_wrong_type", 5, "partners.one.preset", ""),
    ("with: {key: env:K}", "catalog_missing_key", 5, "partners.one.with", "preset: NAME"),
    ("preset: mondiad", "catalog_missing_key", 5, "partners.one.with.uid", "`with: {uid: 104233}`"),
    ("preset: mondiad\nwith: {uid: a b}", "catalog_bad_value", 6, "partners.one.with.uid", "`104233`"),
    ("preset: mondiad\nwith: {uid: [1]}", "catalog_wrong_type", 6, "partners.one.with.uid", "user id"),
    ("preset: mondiad\nwith: {uid: }", "catalog_wrong_type", 6, "partners.one.with.uid", "user id"),
    ("preset: mondiad\nwith: {uid: '1', uide: '2'}", "catalog_unknown_key", 6, "partners.one.with.uide", "`uid`"),
    ("preset: mondiad\nwith: soon", "catalog_wrong_type", 6, "partners.one.with", ""),
    ("preset: adx1\nwith: {x: '1'}", "catalog_unknown_key", 6, "partners.one.with.x", "remove `with`"),
    (KEITARO % "abc", "catalog_bad_value", 6, "partners.one.with.key", "`env:NAME`"),
    (KEITARO % "env:a-b", "catalog_bad_value", 6, "partners.one.with.key", "`env:NAME`"),
    (
        "preset: keitaro\nwith: {host: 'evil.example/x?', key: env:K}", "catalog_bad_value", 6,
        "partners.one.with.host", "`trk.partner.example`",
    ),
    ("preset: keitaro\nwith: {host: '{sub1}.x', key: env:K}", "catalog_bad_value", 6, "partners.one.with.host", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "line", "field", "hint"), MISTAKES, ids=range(len(MISTAKES)))
def test_each_mistake_has_its_code_place_and_hint(text: str, code: str, line: int, field: str, hint: str) -> None:
    found = [(e.code, e.place, e.field) for e in errors(partner(text))]
    assert (code, f"c.yaml:{line}", field) in found
    assert hint in next(e.hint for e in errors(partner(text)) if e.field == field)


def test_a_literal_secret_is_not_shown() -> None:
    assert "hunter2" not in "".join(str(error) for error in errors(partner(KEITARO % "hunter2")))


def test_a_preset_that_knows_none_of_the_goals_says_how_to_name_them() -> None:
    text = partner("preset: meta-capi\nwith: {pixel_id: '123456', access_token: env:M}", GOALS.replace("install", "i2"))
    assert errors(text) == []  # `deposit` is one that it knows
    (error,) = errors(text.replace("deposit", "d2"))
    assert (error.code, error.field) == ("catalog_missing_key", "partners.one.with.events")
    assert error.hint == "add `with: {events: {d2: Purchase}}`"


def test_what_is_wrong_with_what_is_lent_names_both_lines() -> None:
    """A clash of own words with the preset's: found where `preset:` stands, and in which line of the preset."""
    text = "waypost: 1\nadvertisers:\n  net:\n    preset: kma\n    token: t\n    statuses: {pending: A}\n"
    (error,) = errors(text)
    assert (error.code, error.place) == ("catalog_duplicate", "c.yaml:4")
    assert error.message == "`A` already means pending (preset kma, line 9)"


def test_other_shelves_can_be_given() -> None:
    body = (
        "title: T\nkind: tracker\nsource: published definition\nseen: 2026-01-01\n"
        "partner:\n  postbacks: [{get: 'https://h.example/?c={nope}'}]\nexample: {sends: []}\n"
    )
    shelf = Shelf(("mine",), lambda name: read_preset(name, body))
    with pytest.raises(Exception, match=r"c\.yaml:5: .*macro_unknown.*\(preset mine, line 6\)"):
        compile_catalog([("c.yaml", partner("preset: mine"))], SETTINGS, shelf)
    with pytest.raises(ValueError, match="no_such"):
        read_preset("x", "no_such: 1\nkind: tracker\nsource: s\ntitle: t\nseen: d\n")
