"""Bodies as a catalog writes them: a macro that has another one's value as argument is one macro."""

import pytest

from support.catalog_text import compiled
from waypost.macros.template import Position, compile_template

CATALOG = """
waypost: 1
partners:
  geozo:
    postbacks:
      - post: {url: "https://h.example/", %s: {v: "%s"}}
"""
VALUES = {"sub2": 'b"&'}


@pytest.mark.parametrize(
    ("macro", "in_json", "in_form"),
    [
        ("{sub1|default({sub2})}", '"b\\"&"', "b%22%26"),
        ("a{sub1|default({sub2})}z", '"ab\\"&z"', "ab%22%26z"),
        ("{sub1|default('}')}", '"}"', "%7D"),
        ("{{x}} & {sub2}", '"{x} & b\\"&"', "%7Bx%7D%20%26%20b%22%26"),
    ],
)
def test_a_macro_is_written_for_where_it_stands(macro: str, in_json: str, in_form: str) -> None:
    for key, position, wanted in (
        ("json", Position.JSON, f'{{"v":{in_json}}}'),
        ("form", Position.FORM, f"v={in_form}"),
    ):
        rule = compiled(CATALOG % (key, macro)).partners[0].rules[0]
        assert compile_template(rule.body, position=position).render(VALUES) == wanted
