"""The page that tries an app's own address and goes on to the store or the web: for `scheme://` links, which no
redirect comes back from when the app is not there.

Owns: the page. Reads and writes nothing. Its script is the same for everyone and is named by its hash in the
Content-Security-Policy; both addresses stand in links, so that it works without script as well.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape

WAIT_MS = 1200  # the app has come to the front by then, or is not there

_SCRIPT = f"""
var app = document.getElementById("app"), web = document.getElementById("web");
var left = setTimeout(function () {{ if (!document.hidden) location.replace(web.href); }}, {WAIT_MS});
document.addEventListener("visibilitychange", function () {{ if (document.hidden) clearTimeout(left); }});
location.href = app.href;
"""
_HASH = b64encode(sha256(_SCRIPT.encode()).digest()).decode()
POLICY = f"Content-Security-Policy: default-src 'none'; script-src 'sha256-{_HASH}'; base-uri 'none'\r\n"


def app_page(url: str, fallback: str) -> bytes:
    """The page's HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Opening the app</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body>'
        f'<p><a id="app" href="{escape(url)}">Open the app</a></p>'
        f'<p><a id="web" href="{escape(fallback)}">Go on without it</a></p>'
        f"<script>{_SCRIPT}</script></body></html>"
    ).encode("ascii", "xmlcharrefreplace")
