"""Postback rules in the catalog: what they compile to, and what is said of each mistake, with its line."""

import json
import textwrap

import pytest

from support.catalog_text import compiled, errors
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.doubts import doubts_about
from waypost.catalog.model import Authentication, Batch, Hmac, OAuth, PostbackRule, Success
from waypost.catalog.templates import body_position
from waypost.macros.template import compile_applied
from waypost.settings import load_settings

HEAD = """
waypost: 1
advertisers:
  acme: {token: s3cret}
offers:
  vpn: {advertiser: acme, url: "https://a.example/?c={click_id}", goals: {install: {payout: 1 USD}, buy: {payout: 10%}}}
links:
  demo: {partner: geozo, offer: vpn}
partners:
  other: {}
  geozo:
    postbacks:
"""


def catalog(rule: str) -> str:
    """A catalog whose one rule begins at line 13."""
    lines = textwrap.dedent(rule).strip().splitlines()
    return HEAD + "\n".join(("      - " if nth == 0 else "        ") + line for nth, line in enumerate(lines)) + "\n"


def rule_of(text: str) -> PostbackRule:
    return next(partner for partner in compiled(catalog(text)).partners if partner.name == "geozo").rules[0]


def test_every_condition() -> None:
    rule = rule_of(
        """
        name: VIP buyers
        on:
          goal: [install, buy]
          status: approved
          from: [none, pending]
          verdict: [new, updated]
          offer: vpn
          link: demo
          advertiser: acme
          partner: [geozo, other]
          country: [DE, AT]
        if: sum > 10 and (click.vip == '1' or country == 'DE') and not bot
        for: all
        first_only: true
        percent: 80
        delay: 10m
        events: {buy: purchase, '*': other}
        missing: drop
        get: https://p.example/?e={event}&c={country}
        """
    )
    assert (rule.name, rule.goals, rule.statuses, rule.befores) == (
        "VIP buyers", ("install", "buy"), ("approved",), ("none", "pending"),
    )  # fmt: skip
    assert (rule.verdicts, rule.offers, rule.links, rule.advertisers) == (
        ("new", "updated"),
        ("vpn",),
        ("demo",),
        ("acme",),
    )
    assert (rule.partners, rule.countries, rule.scope) == (("geozo", "other"), ("DE", "AT"), "all")
    assert rule.condition == "sum > 10 and (click.vip == '1' or country == 'DE') and not bot"
    assert (rule.first_only, rule.share, rule.delay_ms, rule.missing) == (True, 0.8, 600_000, "drop")
    assert rule.events == {"buy": "purchase", "*": "other"} and rule.macros == ("event", "country")


@pytest.mark.parametrize("text", ["80", "80%", "80 %", "80.0"])
def test_a_percentage_with_or_without_its_sign(text: str) -> None:
    assert rule_of(f"percent: {text}\nget: https://p.example/").share == 0.8


VALUES = {"sub1": 'a"b\\c&d', "payout": "1.20", "status": "approved", "click_id": "x/y"}


def body_of(text: str, values: dict[str, str]) -> str:
    rule = rule_of(text)
    kind = next(value for name, value in rule.headers.items() if name.lower() == "content-type")
    return compile_applied(rule.body, position=body_position(kind)).render(values)


def test_a_json_structure_is_encoded_right_whatever_the_values() -> None:
    text = """
        post:
          url: https://p.example/
          json:
            id: "{click_id}"
            text: 'say "{sub1}" {{now}} \\ {sub1|default(''}"'')}'
            amount: "{payout|number}"
            fixed: [1, 2.50, true, null, "7", ""]
            "{odd} key": {nested: {deep: "{status|map(approved=1, *=0)}"}}
            if: "{if payout > 1}big{else}small{end}"
        """
    assert json.loads(body_of(text, VALUES)) == {
        "id": "x/y",
        "text": 'say "a"b\\c&d" {now} \\ a"b\\c&d',
        "amount": 1.20,
        "fixed": [1, 2.5, True, None, "7", ""],
        "{odd} key": {"nested": {"deep": "1"}},
        "if": "big",
    }
    assert rule_of(text).headers == {"Content-Type": "application/json"}


def test_a_form_is_encoded_right() -> None:
    text = """
        post:
          url: https://p.example/
          form: {"a b&": "{sub1} & {{x}}", amount: "{payout}", none: ""}
        """
    assert body_of(text, VALUES) == "a%20b%26=a%22b%5Cc%26d%20%26%20%7Bx%7D&amount=1.20&none="
    assert rule_of(text).headers == {"Content-Type": "application/x-www-form-urlencoded"}


def test_xml_is_encoded_right() -> None:
    text = """
        request: {method: PUT, url: "https://p.example/", xml: '<c id="{sub1}">{payout}</c>'}
        """
    assert body_of(text, {"sub1": '<"&>', "payout": "1"}) == '<c id="&lt;&quot;&amp;&gt;">1</c>'
    assert (rule_of(text).method, rule_of(text).headers) == ("PUT", {"Content-Type": "application/xml"})


def test_dropped_parameters_and_members() -> None:
    rule = rule_of(
        """
        missing: drop
        request:
          url: https://p.example/?a={sub1}&b={sub2}
          json: {a: "{sub1}", b: "{sub2}"}
        """
    )
    assert rule.missing == "drop" and rule.method == "POST"


def test_every_kind_of_authentication() -> None:
    rule = rule_of(
        """
        post: {url: "https://p.example/", body: "{sub1}"}
        auth:
          oauth: {token_url: https://auth.example/t, client_id: me, client_secret: env:S, scope: a b, credentials: body}
          hmac:
            header: X-Sign
            secret: file:/run/key
            algorithm: sha512
            encoding: base64
            prefix: "h="
            text: "{method} {path} {timestamp} {body} {sub2}"
            timestamp_header: X-Time
          standard_webhooks: [env:A, env:B]
          certificate: /etc/c.pem
          key: /etc/k.pem
        """
    )
    assert rule.auth == Authentication(
        oauth=OAuth("https://auth.example/t", "me", "env:S", "a b", "", True),
        hmac=Hmac(
            "X-Sign", "file:/run/key", "sha512", "{method} {path} {timestamp} {body} {sub2}", "base64", "h=", "X-Time"
        ),
        webhooks=("env:A", "env:B"),
        certificate="/etc/c.pem",
        key="/etc/k.pem",
    )
    assert rule.macros == ("sub1", "sub2")  # what is signed is committed too, what the attempt adds is not
    assert rule.auth.kind == "oauth + hmac + webhooks + certificate"


def test_success_and_what_is_final() -> None:
    rule = rule_of(
        """
        get: https://p.example/
        success:
          status: [200-299, 409]
          body_contains: OK
          body_matches: ["*done*"]
          json: {path: result.code, equals: [0, yes]}
        give_up: {status: 400-404}
        """
    )
    assert rule.success == Success(
        ((200, 299), (409, 409)), ("OK",), ("*done*",), "result.code", ("0", "yes"), ((400, 404), (410, 410))
    )


def test_a_batch_in_a_structure_and_as_lines() -> None:
    rule = rule_of(
        """
        post:
          url: https://p.example/bulk
          json: {source: waypost, events: "{items}"}
        batch:
          count: 100
          age: 5s
          item: {id: "{postback_id}", payout: "{payout|number}"}
          results: {path: data.results, id: ref, ok: state, equals: [ok, duplicate], give_up: bad}
        """
    )
    assert rule.batch == Batch(
        100, 5_000, '{{"id":"{postback_id}","payout":{payout}}}', '{{"source":"waypost","events":[', "]}}", ",",
        "data.results", "ref", "{postback_id}", "state", ("ok", "duplicate"), ("bad",),
    )  # fmt: skip
    assert rule.macros == ("postback_id", "payout")
    lines = rule_of(
        """
        post: {url: "https://p.example/bulk", headers: {Content-Type: text/plain}, body: "v1\\n{items}\\n"}
        batch: {count: 10, item: "{sub1};{payout}"}
        """
    ).batch
    assert lines is not None and (lines.head, lines.item, lines.tail, lines.separator) == (
        "v1\n",
        "{sub1};{payout}",
        "\n",
        "\n",
    )
    array = rule_of('post: {url: "https://p.example/bulk"}\nbatch: {count: 2, item: ["{sub1}"]}').batch
    assert array is not None and (array.head, array.item, array.tail) == ("[", '["{sub1}"]', "]")


GET = "get: https://p.example/"
POST = 'post: {url: "https://p.example/"'
MISTAKES = [
    (f"on: {{from: aproved}}\n{GET}", 13, "on.from", "`aproved` is not known", "did you mean `approved`?"),
    (f"on: {{country: germany}}\n{GET}", 13, "on.country[0]", "no ISO 3166", "two capital letters"),
    (f"on: {{country: de}}\n{GET}", 13, "on.country", "no ISO 3166", "`DE`"),
    (f"on: {{partner: other}}\n{GET}", 13, "on", "own conversions only", "for: all"),
    (f"on: {{partner: nobody}}\nfor: all\n{GET}", 13, "on.partner", "no partner `nobody`", ""),
    (f"on: {{link: dem}}\n{GET}", 13, "on.link", "no link `dem`", "did you mean `demo`?"),
    (f"on: {{verdict: new, from: pending}}\n{GET}", 13, "on.from", "new conversion had no status", "none"),
    (f"on: {{verdict: updated, from: none}}\n{GET}", 13, "on.from", "had a status before", "new"),
    (f"on: {{status: approved, from: approved}}\n{GET}", 13, "on.from", "where the status stays", ""),
    (f"on: {{verdict: refused, from: pending}}\n{GET}", 13, "on.from", "refused call", "two rules"),
    (f"if: sum >\n{GET}", 13, "if", "macro_syntax", ""),
    (f"if: sums > 3\n{GET}", 13, "if", "nothing is called sums", "sum"),
    (f"if: attempt > 3\n{GET}", 13, "if", "nothing is called attempt", "attempt"),
    (f"for: everybody\n{GET}", 13, "for", "`everybody` is not known", "`all`"),
    (f"percent: 120\n{GET}", 13, "percent", "no percentage", "80"),
    (f"delay: 5 minutes\n{GET}", 13, "delay", "no duration", ""),
    (f"events: {{bu: x}}\n{GET}", 13, "events.bu", "no goal `bu`", "did you mean `buy`?"),
    (
        f"on: {{goal: [buy, install]}}\nevents: {{buy: x}}\n{GET}",
        14,
        "events",
        "names no event for goal `install`",
        "'*'",
    ),
    (f"missing: maybe\n{GET}", 13, "missing", "`maybe` is not known", "`drop`"),
    ("name: x", 13, "", "none of `get`, `post`, `request`", "get:"),
    (f"{GET}\n{POST}}}", 14, "post", "both `get` and `post`", "two rules"),
    ("request: {method: HEAD, url: 'https://p.example/'}", 13, "request.method", "`HEAD` is not known", "`PATCH`"),
    ("request: {method: GET, url: 'https://p.example/', body: x}", 13, "request", "GET has no body", "post"),
    (f"{POST}, body: x, json: {{}}}}", 13, "post.json", "both `body` and `json`", "one body"),
    (f"{POST}, json: {{a: '{{sub1'}}}}", 13, "post.json.a", "macro_syntax", ""),
    (f"{POST}, json: {{a: ['{{sun1}}']}}}}", 13, "post.json.a[0]", "no macro", "click.sun1"),
    (f"{POST}, form: {{a: '{{payot}}'}}}}", 13, "post.form.a", "no macro", "payout"),
    (f"{POST}, xml: '<a {{sub1}}>'}}", 13, "post.xml", "XML tag", ""),
    (f"{POST}, body: '{{items}}'}}", 13, "post", "in batches only", "batch:"),
    (
        f"{GET}\nauth: {{bearer: env:A, basic: {{user: a, password: b}}}}",
        14,
        "auth",
        "both basic and bearer",
        "keep one",
    ),
    (
        f"{POST}, headers: {{authorization: x}}}}\nauth: {{bearer: env:A}}",
        14,
        "auth",
        "header Authorization",
        "keep one",
    ),
    (f"{GET}\nauth: {{bearer: [a]}}", 14, "auth.bearer", "takes text", ""),
    (f"{GET}\nauth: {{basic: {{user: 'a:b', password: c}}}}", 14, "auth.basic.user", "colon", ""),
    (
        f"{GET}\nauth: {{oauth: {{token_url: 'https://a.example/?x={{sub1}}', client_id: a, client_secret: b}}}}",
        14,
        "auth.oauth.token_url",
        "for many postbacks",
        "write the URL out",
    ),
    (
        f"{GET}\nauth: {{oauth: {{token_url: 'https://a.example/', client_secret: b}}}}",
        14,
        "auth.oauth.client_id",
        "is missing",
        "",
    ),
    (f"{GET}\nauth: {{hmac: {{header: Host, secret: a}}}}", 14, "auth.hmac.header", "cannot be a header", ""),
    (
        f"{GET}\nauth: {{hmac: {{header: X, secret: a, text: '{{boddy}}'}}}}",
        14,
        "auth.hmac.text",
        "signature's text",
        "body",
    ),
    (
        f"{GET}\nauth: {{hmac: {{header: X, secret: a, algorithm: crc}}}}",
        14,
        "auth.hmac.algorithm",
        "not known",
        "sha256",
    ),
    (f"{GET}\nauth: {{key: k.pem}}", 14, "auth.key", "without its `certificate`", ""),
    (f"{GET}\nsuccess: {{status: 2xx}}", 14, "success.status", "no HTTP status", "200-299"),
    (f"{GET}\nsuccess: {{status: 299-200}}", 14, "success.status", "no HTTP status", ""),
    (f"{GET}\nsuccess: {{json: {{path: 'a b', equals: 1}}}}", 14, "success.json.path", "no path", "result.code"),
    (f"{GET}\nbatch: {{count: 2, item: x}}", 13, "get", "a GET has none", "post"),
    (f"{POST}, json: {{a: 1}}}}\nbatch: {{count: 2, item: {{b: 1}}}}", 13, "post", "`{items}` once", "events"),
    (
        f"{POST}, json: {{a: '{{items}}', b: '{{sub1}}'}}}}\nbatch: {{count: 2, item: {{b: 1}}}}",
        13,
        "post",
        "`{sub1}` may differ",
        "item",
    ),
    (f"{POST}}}\nbatch: {{count: 0, item: {{b: 1}}}}", 14, "batch.count", "not within 1 to 1000", ""),
    (f"{POST}}}\nbatch: {{count: 2}}", 14, "batch.item", "is missing", ""),
    (
        f"{POST}}}\nbatch: {{count: 2, item: {{b: 1}}, results: {{matches: '{{txn_id}}'}}}}",
        14,
        "batch.results.matches",
        "compared with the field `id`",
        "id:",
    ),
    (
        f"{POST}}}\nbatch: {{count: 2, item: {{b: 1}}, results: {{equals: 1}}}}",
        14,
        "batch.results.equals",
        "field `ok`",
        "ok:",
    ),
]


@pytest.mark.parametrize(("text", "line", "field", "message", "hint"), MISTAKES, ids=[one[0][:60] for one in MISTAKES])
def test_a_mistake_is_said_with_its_line_and_a_hint(text: str, line: int, field: str, message: str, hint: str) -> None:
    (error,) = errors(catalog(text))
    assert error.place == f"c.yaml:{line}"
    wanted = f"partners.geozo.postbacks[0]{'.' + field if field else ''}"
    assert error.field in (wanted, wanted.removesuffix("[0]"))
    assert message in error.message and hint in error.hint


def test_two_rules_of_one_name_are_said() -> None:
    text = catalog("name: a\nget: https://p.example/") + "      - {name: a, get: 'https://p.example/'}\n"
    (error,) = errors(text)
    assert (error.code, error.place) == ("catalog_duplicate", "c.yaml:15")


def test_no_secret_is_in_a_message() -> None:
    for secret in ("[hunter2]", "{a: hunter2}", '"hunter2\\t"'):
        (error,) = errors(catalog(f"{GET}\nauth: {{bearer: {secret}}}"))
        assert "hunter2" not in str(error)


def test_ten_thousand_rules_of_a_partner_are_taken() -> None:
    rules = "".join(f"      - {{on: {{goal: buy}}, get: 'https://p.example/{nth}'}}\n" for nth in range(1_500))
    assert len(compiled(HEAD + rules).partners[1].rules) == 1_500


def test_a_difference_shows_no_secret_of_a_request() -> None:
    def with_secret(secret: str, scope: str) -> str:
        oauth = f"{{token_url: 'https://a.example/', client_id: me, client_secret: {secret}, scope: {scope}}}"
        hmac = f"{{header: X-Sign, secret: {secret}}}"
        return catalog(f"{GET}\nauth: {{oauth: {oauth}, hmac: {hmac}, standard_webhooks: [{secret}]}}")

    (change,) = diff_catalogs(compiled(with_secret("hunter2", "a")), compiled(with_secret("hunter3", "b")))
    text = str(change)
    assert "hunter" not in text and "scope: a → b" in text
    assert text.count("changed") == 4  # the partner, and three secrets


def test_a_secret_that_is_written_out_is_doubted_and_not_shown() -> None:
    auth = "{bearer: hunter2, hmac: {header: X, secret: env:A}, standard_webhooks: [hunter3, env:B]}"
    text = catalog(f"name: hook\n{GET}\nauth: {auth}")
    doubts = [str(doubt) for doubt in doubts_about(compiled(text), load_settings(None, {}).visitors)]
    assert [doubt.partition(" is written out")[0] for doubt in doubts] == [
        "c.yaml:13: partners.geozo, rule hook: its bearer",
        "c.yaml:13: partners.geozo, rule hook: its standard_webhooks secret",
    ]
    assert "hunter" not in "".join(doubts)


def test_rules_that_ask_for_a_country_that_nobody_knows_are_doubted() -> None:
    for text in (f"on: {{country: DE}}\n{GET}", f"if: city == 'Berlin'\n{GET}"):
        (doubt,) = doubts_about(compiled(catalog(text)), load_settings(None, {}).visitors)
        assert str(doubt).startswith("partners.geozo: asks for country or region or city")
