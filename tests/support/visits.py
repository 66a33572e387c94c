"""A running door over a catalog that is written as users write it, and requests as visitors send them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from support.catalog_text import SETTINGS
from support.doors import Answer, RunningDoor, door_settings, running_door
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.settings import Settings

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 "
    "Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 "
    "Mobile Safari/537.36"
)
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"
SHOP = "https://shop.example"
FINGERPRINT = ":".join(["14"] * 32)

CATALOG = f"""waypost: 1
advertisers:
  acme:
    token: s3cret
    browser: {{origins: ["{SHOP}"], goals: [order]}}
  other: {{token: 0ther}}
offers:
  shop:
    advertiser: acme
    url: http://shop.example/?cid={{click_id}}&s={{sub1}}
    goals: {{order: {{payout: 1 USD}}, lead: {{payout: 2 USD}}}}
  app:
    advertiser: acme
    url: http://shop.example/app?cid={{click_id}}
    goals: {{order: {{payout: 1 USD}}}}
    deep_link:
      ios: shopapp://product/{{sub1}}?cid={{click_id}}
      android: intent://product/{{sub1}}#Intent;scheme=shopapp;package=com.example.shop;end
      ios_store: https://apps.example/id1?ct={{click_id}}
  universal:
    advertiser: acme
    url: http://shop.example/web?cid={{click_id}}
    mode: 307
    goals: {{order: {{payout: 1 USD}}}}
    deep_link: {{ios: "https://app.shop.example/p?cid={{click_id}}", android_store: "http://play.example/?id=shop"}}
  elsewhere:
    advertiser: other
    url: http://elsewhere.example/?cid={{click_id}}
    goals: {{order: {{payout: 1 USD}}}}
partners:
  geozo: {{token: p4rtner}}
  nobody: {{}}
links:
  demo: {{partner: geozo, offer: shop}}
  app: {{partner: geozo, offer: app}}
  universal: {{partner: geozo, offer: universal}}
  quiet: {{partner: geozo, offer: shop, mode: 307, referrer: hide}}
  tokenless: {{partner: nobody, offer: shop}}
  elsewhere: {{partner: geozo, offer: elsewhere}}
  mixed: {{partner: geozo, targets: [{{offer: shop}}, {{offer: elsewhere, weight: 99}}]}}
domains:
  go.example.com:
    link: demo
    ios: {{team_id: ABCDE12345, bundle_id: com.example.shop, paths: [/c/*, not /c/web-*]}}
    android: {{package: com.example.shop, sha256_fingerprints: "{FINGERPRINT}"}}
  closed.example.com: {{active: false}}
"""


@contextmanager
def visited_door(folder: Path, text: str = CATALOG, settings: Settings | None = None) -> Iterator[RunningDoor]:
    """A door over this catalog."""
    file = folder / "catalog.yaml"
    file.write_text(text, "utf-8")
    apply_catalog(file, folder / "catalog", SETTINGS)
    catalogs = SqliteCatalogStore(folder / "catalog", cache_items_max=1000)
    with running_door(folder, catalogs=cast(Any, catalogs), settings=settings or door_settings()) as door:
        yield door


def visit(door: RunningDoor, target: str, agent: str = DESKTOP, *headers: str, method: str = "GET") -> Answer:
    """A request by a browser."""
    return door.get(target, f"User-Agent: {agent}", *headers, method=method)


def preflight(door: RunningDoor, target: str, origin: str) -> Answer:
    """The question that a browser asks before a request that is not a plain form."""
    head = f"OPTIONS {target} HTTP/1.1\r\nHost: door\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    return door.ask(head.encode())


def form(door: RunningDoor, target: str, body: str, *headers: str, kind: str = "") -> Answer:
    """A POST of a form."""
    media = kind or "application/x-www-form-urlencoded;charset=UTF-8"
    return door.post(target, body.encode(), f"Content-Type: {media}", *headers)
