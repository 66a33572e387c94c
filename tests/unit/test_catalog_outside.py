"""The sections `privacy` and `domains`, and the keys that say how a visit is answered."""

from pathlib import Path

import pytest

from support.catalog_text import SETTINGS, errors
from waypost.catalog.compile import compile_catalog
from waypost.catalog.compiled import Compiled
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.outside import AndroidApp, Domain, IosApp, Privacy
from waypost.catalog.problems import CatalogErrors
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog

FINGERPRINT = ":".join(["14"] * 32)
CATALOG = f"""waypost: 1
advertisers:
  acme:
    token: s3cret
    browser: {{origins: ["https://Shop.example", "https://www.shop.example:443"], goals: [order], status: approved}}
offers:
  shop:
    advertiser: acme
    url: http://shop.example/?cid={{click_id}}
    mode: 307
    goals: {{order: {{payout: 1 USD}}}}
    deep_link:
      ios: shopapp://product/{{sub1}}?cid={{click_id}}
      android: intent://product/{{sub1}}#Intent;scheme=shopapp;package=com.example.shop;end
      ios_store: https://apps.example/id1?ct={{click_id}}
partners:
  geozo: {{token: "env:GEOZO_TOKEN"}}
links:
  demo: {{partner: geozo, offer: shop, mode: 302, referrer: hide}}
privacy: {{ip: hashed, user_agent: family, referrer: origin}}
domains:
  Go.Example.com:
    link: demo
    ios: {{team_id: ABCDE12345, bundle_id: com.example.shop, paths: [/c/*, not /c/web-*]}}
    android: {{package: com.example.shop, sha256_fingerprints: "{FINGERPRINT}"}}
  "*": {{active: false}}
"""


def compiled(text: str = CATALOG) -> Compiled:
    return compile_catalog([("catalog.yaml", text)], SETTINGS)


def test_all_of_it_is_read() -> None:
    found = compiled()
    assert found.privacy == Privacy("hashed", "family", "origin")
    named, others = found.domains
    assert named == Domain(
        "go.example.com",
        "demo",
        True,
        (IosApp("ABCDE12345.com.example.shop", ("/c/*", "not /c/web-*")),),
        (AndroidApp("com.example.shop", (FINGERPRINT,)),),
        named.place,
    )
    assert (others.name, others.active) == ("*", False)
    browser = found.advertisers[0].browser
    assert browser is not None and browser.origins == ("https://shop.example", "https://www.shop.example")
    assert (browser.goals, browser.status) == (("order",), "approved")
    assert (found.offers[0].mode, found.links[0].mode, found.links[0].hides_referrer) == (307, 302, True)
    deep_link = found.offers[0].deep_link
    assert deep_link is not None and deep_link.ios.startswith("shopapp://") and deep_link.android_store == ""
    assert found.partners[0].token == "env:GEOZO_TOKEN"


def test_where_nothing_is_said_little_is_kept_and_any_host_is_answered() -> None:
    found = compiled("waypost: 1\n")
    assert (found.privacy, found.domains) == (Privacy("truncated", "whole", "whole"), ())


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("ip: hashed", "ip: encrypted", "catalog_bad_value"),
        ("Go.Example.com:", "https://go.example.com:", "catalog_bad_value"),
        ("Go.Example.com:", "go_example:", "catalog_bad_value"),
        ("link: demo", "link: nothing", "catalog_unknown_name"),
        ("ABCDE12345", "abc", "catalog_bad_value"),
        ("paths: [/c/*,", "paths: [c,", "catalog_bad_value"),
        (FINGERPRINT, "14:15", "catalog_bad_value"),
        ("package: com.example.shop, sha", "package: shop, sha", "catalog_bad_value"),
        ('"https://Shop.example"', '"https://shop.example/path"', "catalog_bad_value"),
        ('"https://Shop.example"', '"*"', "catalog_bad_value"),
        ("mode: 307", "mode: 301", "catalog_bad_value"),
        ("referrer: hide", "referrer: maybe", "catalog_bad_value"),
        ("ios: shopapp://product", "ios: javascript://product", "catalog_bad_value"),
        ("ios: shopapp://product", "ios: product", "catalog_bad_value"),
        ("ios: shopapp://product", "ios: shopapp://{sub1}", "catalog_template"),
        ("ios_store: https://apps", "ios_store: market://apps", "catalog_template"),
        ("{sub1}#Intent", "{nothing}#Intent", "catalog_template"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(before: str, after: str, code: str) -> None:
    assert before in CATALOG
    found = errors(CATALOG.replace(before, after))
    assert [error.code for error in found][:1] == [code]
    assert int(found[0].place.rpartition(":")[2]) > 1


def test_two_catalogs_differ_in_it() -> None:
    changes = {str(change) for change in diff_catalogs(compiled(), compiled(CATALOG.replace("ip: hashed", "ip: none")))}
    assert changes == {"privacy changed\n  ip: hashed → none"}
    other = compiled(CATALOG.replace("    link: demo\n", ""))
    assert [(change.kind, change.name) for change in diff_catalogs(compiled(), other)] == [("domain", "go.example.com")]


def test_a_version_holds_it_and_resolves_a_partners_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOZO_TOKEN", "from the environment")
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    applied = apply_catalog(tmp_path / "catalog.yaml", tmp_path / "catalog", SETTINGS)
    store = SqliteCatalogStore(tmp_path / "catalog", cache_items_max=100)
    view = store.open(applied.version)
    assert view.privacy() == compiled().privacy
    assert [domain.name for domain in view.domains()] == ["go.example.com", "*"]
    partner = view.partner_named("geozo")
    assert partner is not None and view.partner_token(partner.no) == "from the environment"
    assert view.partner_token(99) == ""
    offer, link = view.offer_named("shop"), view.link("demo")
    assert offer is not None and offer.deep_link == compiled().offers[0].deep_link and offer.mode == 307
    assert link is not None and (link.mode, link.hides_referrer) == (302, True)
    view.close()
    monkeypatch.delenv("GEOZO_TOKEN")
    view = store.open(applied.version)
    assert len(view.partner_token(partner.no)) == 64 and "GEOZO_TOKEN" in view.secrets_missing[0]
    view.close()
    assert store.problems() == []


def test_a_partners_token_that_cannot_be_read_is_said_at_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOZO_TOKEN", raising=False)
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    with pytest.raises(CatalogErrors) as raised:
        apply_catalog(tmp_path / "catalog.yaml", tmp_path / "catalog", SETTINGS)
    assert [(error.code, error.field) for error in raised.value.errors] == [("catalog_secret", "partners.geozo.token")]
