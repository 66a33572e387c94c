"""Deep links: where a click on a phone leads, so that the app opens where it is there and the web or store where not.

Input: an offer's deep-link plans, the system that the user agent names, the click's web address. Output: `Landing`.
Pure. Never knows whether an app is installed: no server can.

Forms: universal links and app links are https addresses that the phone gives to the app by itself; `intent:` URIs name
their own fallback (Chrome, "Android Intents"); an app's own `scheme://` has none, so a page tries it and goes on.
"""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from waypost.model.facts import AnyFacts

INTENT = "intent"
_FALLBACK = "S.browser_fallback_url="
_END = ";end"


class AppPlan(NamedTuple):
    """One template's plan: what renders it as an https address, and the scheme that stands there in its place."""

    scheme: str
    render: Callable[[str, bytes, AnyFacts], str]

    @property
    def is_web(self) -> bool:
        """Whether a phone without the app can open it."""
        return self.scheme in ("http", "https")

    def address(self, click_id: str, query: bytes, facts: AnyFacts) -> str:
        """This click's address."""
        return self.scheme + self.render(click_id, query, facts).removeprefix("https")


class Apps(NamedTuple):
    """The app and the store for each system; None where the offer names none."""

    ios: AppPlan | None = None
    android: AppPlan | None = None
    ios_store: AppPlan | None = None
    android_store: AppPlan | None = None


class Landing(NamedTuple):
    """`url` is where the click leads. With a `fallback` a page tries `url` first, for no redirect could come back."""

    url: str
    fallback: str = ""


def system_of(user_agent: bytes) -> str:
    """`ios`, `android` or nothing. An iPad that asks for desktop pages says that it is a Mac, and is taken for one."""
    if b"Android" in user_agent:
        return "android"
    if b"iPhone" in user_agent or b"iPad" in user_agent or b"iPod" in user_agent:
        return "ios"
    return ""


def landing(apps: Apps, system: str, web: str, click_id: str, query: bytes, facts: AnyFacts) -> Landing:
    """Where this click leads; to the web where the offer has nothing for the system."""
    app, store = {"ios": (apps.ios, apps.ios_store), "android": (apps.android, apps.android_store)}.get(
        system, (None, None)
    )
    if app is None and store is None:
        return Landing(web)
    without = store.address(click_id, query, facts) if store is not None else web
    if app is None:
        return Landing(without)
    url = app.address(click_id, query, facts)
    if app.is_web:
        return Landing(url)
    if app.scheme != INTENT:
        return Landing(url, without)
    if _FALLBACK not in url and url.endswith(_END):
        url = f"{url.removesuffix(_END)};{_FALLBACK}{quote(without, safe='')}{_END}"
    return Landing(url)
