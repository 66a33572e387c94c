"""Every key that a file of cases may have: what it takes, and what it means.

Owns: the table. Reading, hints and `docs/catalog-tests.md` follow it. Reads and writes nothing.
`click.` and `postback.` are the two kinds of steps; what a step expects has keys of its own for each.
"""

from collections.abc import Iterator

from waypost.catalog.keys import Key

_TEXT = "text"
_TIME = "date or time"


def _request(path: str) -> Iterator[Key]:
    """The keys of a request, whoever makes it."""
    yield Key(f"{path}.url", "path and query", "as it was pasted; its host does not count")
    yield Key(f"{path}.query", "text, or mapping", "the parameters; in a mapping they are encoded for you", "none")
    yield Key(f"{path}.method", "`GET`, `POST` or `HEAD`", "the method", "GET; POST with a body")
    yield Key(f"{path}.headers", "mapping", "its headers")
    yield Key(f"{path}.body", _TEXT, "its body")
    yield Key(f"{path}.address", "address", "where it comes from", "one that it may come from")
    yield Key(f"{path}.at", _TIME, "when, in UTC unless it says otherwise", "one second after the step before")
    yield Key(f"{path}.after", "duration", "so long after the step before, in place of `at`")


CASE_KEYS: tuple[Key, ...] = (
    Key("cases", "list", "the cases, each of which begins with nothing counted or known", required=True),
    Key("cases[].name", _TEXT, "what it shows, in words", required=True),
    Key("cases[].at", _TIME, "when its first step happens", "2026-01-05 12:00, a Monday"),
    Key("cases[].steps", "list", "clicks and postbacks, in the order of time", required=True),
    Key("cases[].steps[].click", "name of a link, or mapping", "a visitor clicks"),
    Key("cases[].steps[].postback", "mapping, or `path?query`", "an advertiser's server calls"),
    Key("cases[].steps[].expect", "mapping", "what must come of it", "that it is accepted"),
    Key("click.link", "name", "the link"),
    Key("click.offer", "name", "with `partner`: the link that joins them"),
    Key("click.partner", "name", "with `offer`"),
    Key("click.user_agent", _TEXT, "the browser's", "none"),
    Key("click.facts", "mapping", "what is known of the visitor, beside what address and browser tell: `country: DE`"),
    Key("click.name", "name", "the click is `$NAME` from then on, beside `$click_id`, the last one's id"),
    *_request("click"),
    Key("postback.advertiser", "name", "whose token it carries where it says no other", "the last click's"),
    Key("postback.token", _TEXT, "the token, in a header; `none` for a call without one", "the right one"),
    Key("postback.json", "structure", "the body as JSON"),
    Key("postback.form", "mapping", "the body as a form"),
    *_request("postback"),
    Key("click.expect.http", "status", "what the door answers: 302, 404, …"),
    Key("click.expect.code", _TEXT, "why the click is refused"),
    Key("click.expect.offer", "name, or `none`", "the offer that it leads to"),
    Key("click.expect.url", _TEXT, "the whole address that the visitor is sent to; `none` for a blank page"),
    Key("click.expect.skipped", "mapping", "offers that could not take it, and why: `acme-vpn: not_country`"),
    Key("postback.expect.http", "status", "what the door answers: 200, 403, …"),
    Key("postback.expect.answer", _TEXT, "the body of that answer"),
    Key("postback.expect.verdict", "`new`, `updated`, `duplicate` or `refused`", "what was decided"),
    Key("postback.expect.code", "code, or `none`", "the reason of a refusal, at the door or later"),
    Key("postback.expect.fails", "name, or list", "all checks that fail, and no others; `[]` for none"),
    Key("postback.expect.goal", "name", "the goal"),
    Key("postback.expect.partner", "name, or `none`", "who is credited"),
    Key("postback.expect.status", "`pending`, `approved`, `declined` or `none`", "the conversion's status then"),
    Key("postback.expect.sum", "amount, or `none`", "the order's value"),
    Key("postback.expect.payout", "amount, or `none`", "what the partner earns: `1.20 USD`"),
    Key("postback.expect.revenue", "amount, or `none`", "what the advertiser owes"),
    Key("postback.expect.sends", "list, or `none`", "all postbacks to partners, and no others"),
    Key("postback.expect.sends[].partner", "name", "to whom"),
    Key("postback.expect.sends[].rule", "name or number", "which of the partner's rules"),
    Key("postback.expect.sends[].get", "URL", "the whole address, called by GET"),
    Key("postback.expect.sends[].post", "URL", "the whole address, called by POST"),
    Key("postback.expect.sends[].method", _TEXT, "the method, where it is another"),
    Key("postback.expect.sends[].url", "URL", "the whole address, whatever the method"),
    Key("postback.expect.sends[].headers", "mapping", "headers that it must have, among others"),
    Key("postback.expect.sends[].body", _TEXT, "the whole body"),
    Key("postback.expect.sends[].json", "structure", "the body, read as JSON"),
    Key("postback.expect.sends[].delay", "duration, or `none`", "how long it waits before it is sent"),
    Key("postback.expect.sends[].problem", _TEXT, "why it could not be rendered"),
)


def _shapes() -> dict[str, dict[str, Key]]:
    shapes: dict[str, dict[str, Key]] = {}
    for key in CASE_KEYS:
        shapes.setdefault(key.parent, {})[key.name] = key
    return shapes


CASE_SHAPES = _shapes()
