"""The section `rates`: its mistakes, and what templates make of it."""

from decimal import Decimal
from pathlib import Path

import pytest

from support.catalog_text import DESIGN
from support.catalogs import MemoryCatalogs, MemoryView
from waypost.catalog.compile import compile_catalog
from waypost.catalog.diff import diff_catalogs
from waypost.catalog.model import Partner, PostbackRule
from waypost.catalog.problems import CatalogErrors
from waypost.courier.render import Renderer
from waypost.engines.sqlite.catalog import SqliteCatalogStore, apply_catalog
from waypost.errors import WaypostError
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.settings import load_settings

SETTINGS = load_settings(None, {}).catalog
RATES = DESIGN + "rates:\n  base: EUR\n  USD: 1.25\n  JPY: 160\n"
WORTH = {"EUR": Decimal(1), "USD": Decimal("1.25"), "JPY": Decimal(160)}


def test_rates_reach_the_view_that_roles_open(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(RATES)
    version = apply_catalog(tmp_path / "c.yaml", tmp_path / "catalog", SETTINGS).version
    view = SqliteCatalogStore(tmp_path / "catalog", cache_items_max=10).open(version)
    assert view.rates() == WORTH
    view.close()
    assert compile_catalog([("c.yaml", DESIGN)], SETTINGS).rates == {}


@pytest.mark.parametrize(
    ("text", "code", "line", "hint"),
    [
        ("rates: {USD: 1.25}", "catalog_missing_key", 1, "base: EUR"),
        ("rates: {base: euro}", "catalog_bad_value", 1, "three letters"),
        ("rates: {base: EUR, usd: 1.25}", "catalog_bad_value", 1, "write `USD`"),
        ("rates: {base: EUR, EUR: 1}", "catalog_bad_value", 1, "remove it"),
        ("rates: {base: EUR, USD: -1}", "catalog_bad_value", 1, "1.0842"),
        ("rates: {base: EUR, USD: much}", "catalog_bad_value", 1, "1.0842"),
        ("rates: {base: EUR, USD: NaN}", "catalog_bad_value", 1, "1.0842"),
        ("rates:\n  base: EUR\n  USD: 1e99", "catalog_bad_value", 3, "1.0842"),
        ("rates: 3", "catalog_wrong_type", 1, ""),
    ],
)
def test_each_mistake_has_its_place_and_hint(text: str, code: str, line: int, hint: str) -> None:
    with pytest.raises(CatalogErrors) as found:
        compile_catalog([("c.yaml", DESIGN), ("r.yaml", text)], SETTINGS)
    (error,) = found.value.errors
    assert (error.code, error.place) == (code, f"r.yaml:{line}") and hint in error.hint


def test_a_change_of_a_rate_is_said() -> None:
    before, after = (compile_catalog([("c", text)], SETTINGS) for text in (RATES, RATES.replace("1.25", "1.30")))
    (change,) = diff_catalogs(before, after)
    assert str(change) == "rates changed\n  USD: 1.25 → 1.30"


def test_amounts_are_converted_by_the_rates_of_the_postback_s_catalog() -> None:
    def view(version: int, worth: dict[str, Decimal]) -> MemoryView:
        url = "http://a.example/pb?m={payout|convert(EUR)}&y={sum|convert(JPY, {sum_currency})}"
        rule = PostbackRule(1, (), (), (), (), "GET", url, {}, "", ("payout", "currency", "sum", "sum_currency"))
        found = MemoryView(version, [], [], [Partner(1, "geozo", (rule,))], [])
        found.worth = worth
        return found

    renderer = Renderer(MemoryCatalogs(view(1, WORTH), view(2, WORTH | {"USD": Decimal("1.20")}), view(3, {})))
    values = {"payout": "6.00", "currency": "USD", "sum": "3", "sum_currency": "EUR"}

    def url(catalog: int) -> str:
        out = PostbackOut("p00.1", 1, 1, 0, 7, catalog, 1, 0, 0, values)
        return renderer.render(out, attempt=1, reason=AttemptReason.FIRST, first_ms=0).url

    assert url(1) == "http://a.example/pb?m=4.80&y=480"
    assert url(2) == "http://a.example/pb?m=5.00&y=480"
    with pytest.raises(WaypostError) as error:
        url(3)
    assert "macro_no_rate" in str(error.value)
