"""The catalog's keys on who may call: what they compile to, and what is said of a wrong one and where."""

import re
from pathlib import Path

import pytest

from support.catalog_text import DESIGN, SETTINGS, compiled
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.model import Signature
from waypost.catalog.problems import CatalogErrors
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog, check_catalog
from waypost.errors import WaypostError

TOKEN = "token: s3cret "


def acme(*lines: str, more: str = "", base: str = "token: s3cret") -> str:
    """The design's catalog with these keys on its advertiser."""
    keys = [base, *lines] if base else list(lines)
    return DESIGN.replace(TOKEN, "\n    ".join(keys) + " ") + more


def problems(text: str) -> list[str]:
    with pytest.raises(CatalogErrors) as caught:
        compiled(text)
    return [str(error) for error in caught.value.errors]


def test_what_the_keys_compile_to() -> None:
    text = acme(
        "aliases: [keitaro, tune]",
        "answer: ok",
        "allow_addresses: [203.0.113.7, 198.51.100.0/24, '2001:db8::/32']",
        "wrong_token: 200",
        "signature: {secret: [env:NEW, env:OLD], in: query, window: 90s, encoding: base64, algorithm: sha512}",
        more="intake: {token: [g1, g2], allow_addresses: 0.0.0.0/0, wrong_token: 200, click_id: [aff_click]}\n",
        base="token: [new, old]",
    )  # fmt: skip
    catalog = compiled(text)
    (one,) = catalog.advertisers
    assert (one.token, one.tokens_before, one.answer, one.wrong_token) == ("new", ("old",), "ok", 200)
    assert one.allow_addresses == ("203.0.113.7/32", "198.51.100.0/24", "2001:db8::/32")
    assert one.parameters["click_id"] == ("subid", "sub_id", "transaction_id")
    assert one.statuses["rebill"] == "approved"
    assert one.signature == Signature(
        ("env:NEW", "env:OLD"), "canonical", "query", "signature", "timestamp", 90_000, "sha512", "base64"
    )
    rules = catalog.intake
    assert (rules.tokens, rules.allow_addresses, rules.wrong_token) == (("g1", "g2"), ("0.0.0.0/0",), 200)
    assert (rules.click_id, rules.by_address, rules.headers) == (("aff_click",), (), ())


def test_what_doors_must_know_of_all_is_worked_out() -> None:
    header = compiled(acme("signature: {secret: k, name: X-Acme-Sign}")).intake
    assert header.headers == ("x-acme-sign", "x-timestamp")
    silent = compiled(acme("allow_addresses: 203.0.113.0/24", base="")).intake
    assert silent.by_address == ("203.0.113.0/24",)
    assert compiled(acme("allow_addresses: 203.0.113.0/24")).intake.by_address == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (acme("aliases: keitar"), ":5: A.aliases: `keitar` is not known here (did you mean `keitaro`?)"),
        (acme("answer: xml"), ":5: A.answer: `xml` is not known here (one of `json`, `ok`, `gif`, `empty`)"),
        (
            acme("allow_addresses: 10.0.0.1/8"),
            ":5: A.allow_addresses: `10.0.0.1/8` is no address or CIDR range (`10.0.0.0/8` if the whole",
        ),
        (
            acme("allow_addresses: [acme.example]"),
            ":5: A.allow_addresses[0]: `acme.example` is no address or CIDR range",
        ),
        (acme("wrong_token: 404"), ":5: A.wrong_token: `404` is not known here (did you mean `403`?)"),
        (acme("signature: {window: 5m}"), ":5: A.signature.secret: `secret` is missing (the key; of several each"),
        (acme("signature: {secret: k, window: 5y}"), ":5: A.signature.window: `5y` is no duration"),
        (acme("signature: {secret: k, name: 'X Sign'}"), ":5: A.signature.name: `X Sign` cannot be a header's name"),
        (
            acme("signature: {secret: k, scheme: standard-webhooks, encoding: hex}"),
            ":5: A.signature.encoding: is fixed by Standard Webhooks (remove it)",
        ),
        (
            acme("signature: {secret: [whsec_aGk=, 'no base64'], scheme: standard-webhooks}"),
            ":5: A.signature.secret[1]: is no secret of Standard Webhooks",
        ),
        (
            acme("signature: {secret: whsec_, scheme: standard-webhooks}"),
            ":5: A.signature.secret: is no secret of Standard Webhooks",
        ),
        (acme(base="token: [a, a]"), ":4: A.token[1]: is given twice"),
        (acme(more="intake: {token: s3cret}\n"), ":4: A.token: has the same token as `intake`"),
        (
            DESIGN.replace("    advertiser: acme", "    advertiser: acme\n    token: s3cret"),
            "has the same token as",
        ),
        (acme(base="active: true"), ":3: A.token: `token` is missing (the secret that their calls must carry)"),
        (
            acme(more="intake: {tokens: x}\n"),
            "intake.tokens: `tokens` is no key of this mapping (did you mean `token`?)",
        ),
        (
            DESIGN.replace("  geozo:", "  geozo:\n    click_names: {sub31: s31}"),
            "partners.geozo.click_names.sub31: `sub31` is none of our click parameters",
        ),
        (
            DESIGN.replace("  geozo:", "  geozo:\n    click_names: {sub1: s, sub2: s}"),
            "partners.geozo.click_names.sub2: `s` already stands for `sub1` (one name has one meaning)",
        ),
    ],
)
def test_a_wrong_value_is_said_with_its_place(text: str, said: str) -> None:
    found = [re.sub(r" \[catalog_\w+\]", "", problem) for problem in problems(text)]
    assert any(said.replace("A.", "advertisers.acme.") in problem for problem in found), found


@pytest.mark.parametrize(
    "text",
    [
        acme("signature: {secret: k}", base=""),
        acme(base="active: true", more="intake: {token: g}\n"),
        DESIGN.replace(TOKEN, "active: true ").replace("    advertiser: acme", "    advertiser: acme\n    token: o"),
        acme("allow_addresses: 203.0.113.7", base=""),
    ],
)
def test_a_token_is_not_needed_where_something_else_speaks_for_calls(text: str) -> None:
    assert compiled(text).advertisers[0].token == ""


def test_click_names_of_a_partner_have_its_sets_in_them() -> None:
    text = DESIGN.replace("  geozo:", "  geozo:\n    aliases: tune\n    click_names: {sub7: [aff_sub, s7]}")
    names = compiled(text).partners[0].click_names
    assert (names["aff_sub"], names["s7"], names["aff_sub2"]) == ("sub7", "sub7", "sub2")


def test_secrets_of_all_levels_are_resolved_when_a_version_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEW", "OLD", "GLOBAL", "OFFER", "KEY"):
        monkeypatch.setenv(f"W_{name}", f"value-{name.lower()}")
    text = acme(
        "signature: {secret: [env:W_KEY, spelt-out]}",
        more="intake: {token: env:W_GLOBAL}\n",
        base="token: [env:W_NEW, env:W_OLD, plain]",
    ).replace("    advertiser: acme", "    advertiser: acme\n    token: env:W_OFFER")
    (tmp_path / "catalog.yaml").write_text(text, "utf-8")
    folder = tmp_path / "catalog"
    apply_catalog(tmp_path / "catalog.yaml", folder, SETTINGS)
    view = SqliteCatalogStore(folder, cache_items_max=100).open(1)
    levels = {
        text: view.owner_of_token(text) for text in ("value-new", "value-old", "plain", "value-global", "value-offer")
    }
    assert levels == {
        "value-new": ("advertiser", 1), "value-old": ("advertiser", 1), "plain": ("advertiser", 1),
        "value-global": ("global", 0), "value-offer": ("offer", 1),
    }  # fmt: skip
    assert view.owner_of_token("value-key") is None and view.owner_of_token("spelt-out") is None
    one = view.advertiser_named("acme")
    assert one is not None and one == view.advertiser(1) and one.signature is not None
    assert (one.tokens, one.signature.secrets) == (("value-new", "value-old", "plain"), ("value-key", "spelt-out"))
    assert view.advertiser_named("nobody") is None
    assert b"value-" not in (folder / "versions" / "1.db").read_bytes()
    assert SqliteCatalogStore(folder, cache_items_max=100).problems() == []
    view.close()


def test_a_missing_secret_of_any_level_is_said_at_check(tmp_path: Path) -> None:
    text = acme("signature: {secret: env:NOT_SET_AT_ALL}", more="intake: {token: file:/nowhere/at/all}\n")
    (tmp_path / "catalog.yaml").write_text(text, "utf-8")
    with pytest.raises(WaypostError) as caught:
        check_catalog(tmp_path / "catalog.yaml", SETTINGS)
    said = str(caught.value)
    assert "intake.token" in said and "advertisers.acme.signature.secret" in said


def test_a_diff_says_that_a_secret_changed_and_not_to_what() -> None:
    before = compiled(acme("signature: {secret: key-one}", more="intake: {token: g-one}\n"))
    after = compiled(
        acme("signature: {secret: key-two, window: 1m}", more="intake: {token: g-two, wrong_token: 200}\n")
    )
    said = "\n".join(str(change) for change in diff_catalogs(before, after))
    assert "signature.secrets changed" in said and "signature.window_ms: 5m → 1m" in said
    assert "intake changed\n  tokens changed\n  wrong_token: 403 → 200" in said
    assert "key-" not in said and "g-" not in said


def test_a_network_of_ipv4_addresses_written_as_ipv6_is_one_of_ipv4() -> None:
    text = acme("allow_addresses: ['::ffff:10.0.0.0/104', '::ffff:192.0.2.7', '2001:db8::/32', '::/0']")
    assert compiled(text).advertisers[0].allow_addresses == ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0")
