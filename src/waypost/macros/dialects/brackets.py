"""The signs that systems put around a macro's name, and the reader that finds them in any text.

Owns: the table of bracket forms and `find_tokens`. Reads and writes nothing. Never knows a name: what a token means
is a dialect's to say.

A form is named by its own picture: `{x}`, `##x##`, `__X__`. Longer signs are looked for first, so `[[[subid]]]` is one
token and not `[subid]` between brackets. The search is one regular expression that gives up each position at once, so
its time is linear in the text's length.
"""

import re
from typing import NamedTuple


class Token(NamedTuple):
    """`text` at `start` of the given text is written in `form`; `name` is what stands inside, without white space."""

    start: int
    text: str
    form: str
    name: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Form(NamedTuple):
    """One pair of signs; `pattern` has one group, which is the name."""

    picture: str
    pattern: str
    seen_in: str


FORMS = (
    Form("<#x>", r"<(/?#(?:if|elseif|else)\b[^<>]{0,500})>", "FreeMarker's conditions: Branch"),
    Form("<@x>", r"<(@\w+[^<>]{0,100}>\s{0,9}\$\{[^{}]*\}\s{0,9}(?:</@\w+)?)>?", "Branch's functions"),
    Form("${x}", r"\$\{([^{}]*)\}", "Branch, Propeller, Income Access"),
    Form("#{x}", r"#\{([^{}]*)\}", "some networks"),
    Form("%{x}", r"%\{([^{}]*)\}", "some sources"),
    Form("TS{x}", r"(?<![A-Za-z0-9])(?:TS|ts)\{([^{}]*)\}", "trackers of the TS family"),
    Form("{{{x}}}", r"\{\{\{([^{}]*)\}\}\}", "Mustache, unescaped"),
    Form("{{x}}", r"\{\{([^{}]*)\}\}", "Singular's fixed parameters, networks"),
    Form("{$x}", r"\{\$([A-Za-z_]\w*)\}", "PlugRush"),
    Form("{x}", r"\{([^{}]*)\}", "most trackers and networks"),
    Form("[[[x]]]", r"\[\[\[([^\[\]&/?=\#]+)\]\]\]", "Admitad"),
    Form("[[x]]", r"\[\[([^\[\]&/?=\#]+)\]\]", "some networks"),
    Form("[x]", r"(?<![A-Za-z0-9\]])\[([^\[\]&/?=\#]+)\]", "sources and networks"),
    Form("##x##", r"\#\#([A-Za-z_][\w.\-]*)\#\#", "networks on one gambling platform"),
    Form("#x#", r"\#([A-Za-z_]\w*)\#", "CAKE"),
    Form("%%x%%", r"%%([A-Za-z_]\w*)%%", "Google Ad Manager, some sources"),
    Form("%x%", r"%([A-Za-z_]\w{2,})%(?![0-9A-Fa-f]{2})", "some sources"),
    Form("<x>", r"<([A-Za-z_][\w.\- ]{0,63})>", "hand-written examples"),
    Form("__X__", r"(?<![A-Za-z0-9])__([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)__", "TikTok and its like"),
    Form("__x__", r"(?<==)__([a-z][a-z0-9]*(?:_[a-z0-9]+)*)__", "the same, as somebody typed it"),
    Form("~(x)~", r"~\(([A-Za-z_][\w.\-]*)\)~", "Kochava's older postbacks"),
    Form("(x)", r"(?<=[=/,_\-])\(([A-Za-z_][\w\-]+)\)", "AppsFlyer"),
    Form("*|x|*", r"\*\|([A-Za-z_]\w*)\|\*", "Mailchimp"),
    Form("|x|", r"(?<==)\|([A-Za-z_]\w*)\|", "some sources"),
    Form("$x$", r"(?<==)\$([A-Za-z_]\w*)\$", "some sources"),
    Form("@@x@@", r"@@([A-Za-z_][\w\-]*)@@", "SelfAdvertiser"),
    Form("@x@", r"(?<==)@([A-Za-z_]\w*)@", "Passendo"),
    Form("*x*", r"(?<==)\*([A-Za-z_]\w*)\*(?=$|[&#])", "some sources"),
    Form("~x~", r"(?<==)~([A-Za-z_]\w*)~(?=$|[&#])", "some sources"),
    Form("!x!", r"(?<==)!([A-Za-z_]\w*)!(?=$|[&#])", "some sources"),
    Form("$x", r"(?<==)\$([A-Za-z_]\w*)(?=$|[&#])", "shells, PHP"),
    Form("%7Bx%7D", r"(?:%7[Bb]){1,3}([A-Za-z_][\w.\-]*)(?:%7[Dd]){1,3}", "{x}, percent-encoded on its way"),
    Form("%5Bx%5D", r"(?:%5[Bb]){1,3}([A-Za-z_][\w.\-]*)(?:%5[Dd]){1,3}", "[x], percent-encoded on its way"),
    Form("%3Cx%3E", r"%3[Cc]([A-Za-z_][\w.\-]*)%3[Ee]", "<x>, percent-encoded on its way"),
    Form("%23x%23", r"(?:%23){1,2}([A-Za-z_][\w.\-]*)(?:%23){1,2}", "#x#, percent-encoded on its way"),
)  # fmt: skip

PICTURES = tuple(form.picture for form in FORMS)
# A macro whose signs somebody percent-encoded is text to its system.
ENCODED = {"%7Bx%7D": "{x}", "%5Bx%5D": "[x]", "%3Cx%3E": "<x>", "%23x%23": "#x#"}
# What no system has; whoever writes in them means a macro all the same.
RARE = frozenset({"|x|", "$x$", "*x*", "~x~", "!x!", "$x", "*|x|*"})

_ANY = re.compile("|".join(form.pattern for form in FORMS), re.ASCII)
_FIRST_GROUP = 1


def find_tokens(text: str) -> list[Token]:
    """Every macro-like piece of the text, in order, none overlapping."""
    found = []
    for match in _ANY.finditer(text):
        group = match.lastindex or _FIRST_GROUP
        form = FORMS[group - _FIRST_GROUP]
        found.append(Token(match.start(), match[0], form.picture, match[group].strip()))
    return found


def masked(text: str, tokens: list[Token]) -> str:
    """The text with each token as zeros, so that positions stay and nothing inside a token is looked at twice."""
    out = []
    at = 0
    for token in tokens:
        out.append(text[at : token.start])
        out.append("\0" * len(token.text))
        at = token.end
    out.append(text[at:])
    return "".join(out)
