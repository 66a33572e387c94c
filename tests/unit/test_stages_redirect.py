"""Where a click goes: the offer's URL, and what of the click's query it may carry."""

import msgspec
import pytest

from support.catalogs import design_view
from waypost.model.frames import Click
from waypost.stages.archive_rows import rows_of
from waypost.stages.redirect import LinkPlan, plan_link, target_url

ID = "a0123456789012345678901"


def plan(url: str) -> LinkPlan:
    view = design_view()
    view._offers[1] = msgspec.structs.replace(view._offers[1], url=url)
    link = view.link("demo")
    assert link is not None
    return plan_link(view, link, {})


@pytest.mark.parametrize(
    ("template", "query", "url"),
    [
        ("http://x.example/?c={click_id}&s={sub1}", b"sub1=abc&sub2=no", f"http://x.example/?c={ID}&s=abc"),
        ("http://x.example/?s={sub1}", b"sub1=a%26b+c&sub1=second", "http://x.example/?s=a%26b%20c"),
        ("http://x.example/{link}/{offer}/{partner}", b"", "http://x.example/demo/acme-vpn/geozo"),
        ("http://x.example/?k={click.kind}&e={click.email}&i={click.IP}", b"kind=1&email=me%40x&IP=1.2.3.4",
         "http://x.example/?k=1&e=&i="),
    ],
)  # fmt: skip
def test_the_url_of_a_click(template: str, query: bytes, url: str) -> None:
    (target,) = plan(template).targets
    assert target_url(target, ID, query) == url


def test_a_template_over_the_built_in_bound_was_measured_when_it_was_applied() -> None:
    long = "http://x.example/?c={click_id}&f=" + "x" * 9000
    (target,) = plan(long).targets
    assert target_url(target, ID, b"") == long.replace("{click_id}", ID)


@pytest.mark.parametrize(
    ("query", "cost"),
    [(b"cost=0.012&sub1=x", "0.012"), (b"sub1=x&cost=%2B5", ""), (b"cost=-1", ""), (b"xcost=1", ""), (b"", "")],
)
def test_what_a_click_cost_is_archived_where_it_is_an_amount(query: bytes, cost: str) -> None:
    click = Click(1, 0, 0, 1, 0, 0, 1, query)
    (row,) = rows_of("door-0", 0, [click])["clicks"]
    assert row["cost"] == cost
