"""Every preset is right: it compiles, and what it sends is what its example, written by hand, says."""

import json
import re
from pathlib import Path

import pytest

from support.catalog_text import compiled, errors
from support.catalogs import MemoryCatalogs, MemoryView
from support.presets import (
    CALLERS,
    POSTBACK_ID,
    PRESETS,
    SENDERS,
    VALUES,
    catalog_of,
    click_values,
    entry,
    secrets,
    sends,
    variable,
)
from waypost.catalog.model import Partner
from waypost.catalog.preset import KINDS, PLACEHOLDER, PUBLISHED, Preset
from waypost.courier.render import Rendered, Renderer
from waypost.courier.secrets import Secrets
from waypost.macros.names import CLICK_PREFIX, PERSONAL
from waypost.model.frames import AttemptReason, PostbackOut
from waypost.stages.intake import Aliases
from waypost.stages.rules import event_of

FOLDER = Path(__file__).parents[2] / "src" / "waypost" / "catalog" / "presets"


def test_there_are_more_than_a_hundred_and_of_every_kind() -> None:
    assert len(PRESETS) >= 180
    assert {preset.kind for preset in PRESETS.values()} == set(KINDS)
    assert sorted(PRESETS) == sorted(file.stem for file in FOLDER.glob("*.yaml"))


def partner_of(preset: Preset) -> Partner:
    """The partner that a catalog with the preset of its example has."""
    found = compiled(catalog_of({preset.name: entry(preset, "partner")}))
    return found.partners[0]


def rendered(preset: Preset) -> list[tuple[Rendered, dict[str, str]]]:
    """Each request of an approved purchase, with its headers."""
    partner = partner_of(preset)
    known = {f"env:{name}": value for name, value in secrets(preset).items()}
    keeper = Secrets(lambda reference: known.get(reference, reference), lambda: 0)
    renderer = Renderer(MemoryCatalogs(MemoryView(1, [], [], [partner], [])), keeper)
    found = []
    for rule in partner.rules:
        event = event_of(rule, "purchase")
        assert event is not None, "the rule's events leave out a purchase"
        names = {"partner": preset.name, "offer": "shop", "link": f"to-{preset.name}", "event": event}
        values = {**VALUES, **click_values(preset), **names}
        out = PostbackOut(
            POSTBACK_ID, 0, partner.no, 0, 1, 1, rule.no, 1_795_224_000_000, 0, values, batched=rule.batch is not None
        )
        first, at_ms = AttemptReason.FIRST, out.created_ms
        if out.batched:
            request = renderer.render_batch([out], attempt=1, reason=first, first_ms=at_ms)
        else:
            request = renderer.render(out, attempt=1, reason=first, first_ms=at_ms)
        headers = dict(request.headers)
        if request.rule.signer is not None:
            headers.update(renderer.prove(request, out, keeper, out.created_ms, "").headers)
        found.append((request, headers))
    return found


@pytest.mark.parametrize("preset", SENDERS.values(), ids=list(SENDERS))
def test_it_sends_what_its_example_says(preset: Preset) -> None:
    requests = rendered(preset)
    wanted = [one.named(preset.name, "shop", f"to-{preset.name}") for one in sends(preset)]
    assert [f"{request.method} {request.url}" for request, _ in requests] == [one.request for one in wanted]
    assert [request.body.decode() for request, _ in requests] == [one.body for one in wanted]
    for (request, headers), one in zip(requests, wanted, strict=True):
        assert {name: headers.get(name) for name in one.headers} == one.headers
        if one.body:
            json.loads(request.body)  # each of these bodies is JSON


@pytest.mark.parametrize("preset", SENDERS.values(), ids=list(SENDERS))
def test_what_is_shown_of_a_request_has_no_secret(preset: Preset) -> None:
    for request, _ in rendered(preset):
        assert not [value for value in secrets(preset).values() if value in request.shown]


@pytest.mark.parametrize("preset", CALLERS.values(), ids=list(CALLERS))
def test_a_call_means_what_its_example_says(preset: Preset) -> None:
    text = catalog_of({"own": {}}).replace(
        "acme:\n    token: s3cret", f"acme: {{preset: {preset.name}, token: s3cret}}"
    )
    advertiser = compiled(text).advertisers[0]
    example, means = preset.example, dict(preset.example["means"])
    values = dict(Aliases(advertiser.parameters).call(example["called"].encode(), {}).values)
    assert values.pop("click_id") == "CLICK"
    word = values.pop("status", "").lower()
    assert advertiser.statuses.get(word, word or "approved") == means.pop("status")
    means["currency"] = means.get("currency", "")
    assert values.pop("currency", advertiser.currency).upper() == (means.pop("currency") or "USD")
    for name in ("payout", "sum"):
        assert float(values.pop(name, "0")) == float(means.pop(name, "0"))
    values.pop("goal", None)
    assert values == means


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_it_says_where_it_is_from_and_what_is_to_be_filled_in(preset: Preset) -> None:
    assert preset.title and re.fullmatch(r"20\d\d-\d\d-\d\d", preset.seen)
    assert all(one == PUBLISHED or one.startswith(("http://", "https://", "docs/")) for one in preset.sources)
    assert preset.sources and preset.directions and preset.sides
    used = {name for side in preset.sides for name in PLACEHOLDER.findall((FOLDER / f"{preset.name}.yaml").read_text())}
    assert used == set(preset.parameters)
    for parameter in preset.parameters.values():
        assert parameter.meaning
        assert parameter.is_secret or parameter.fits(parameter.example)
        assert parameter.default is None or parameter.fits(parameter.default)
    assert (preset.call != "") == ("called" in preset.example) == (preset.advertiser is not None)
    assert ("sends" in preset.example) == (preset.partner is not None)


@pytest.mark.parametrize("preset", SENDERS.values(), ids=list(SENDERS))
def test_nothing_personal_is_sent_and_no_secret_is_written_out(preset: Preset) -> None:
    for rule in partner_of(preset).rules:
        assert not PERSONAL & {name.removeprefix(CLICK_PREFIX).lower() for name in rule.macros}
        written = f"{rule.url} {rule.headers} {rule.body}"
        for name in preset.parameters:
            assert variable(preset, name) not in written or f"secret('env:{variable(preset, name)}')" in written


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_the_call_has_the_parameters_of_its_example(preset: Preset) -> None:
    if preset.call:
        told = [pair.partition("=")[0] for pair in preset.call.split("&")]
        assert [pair.partition("=")[0] for pair in preset.example["called"].split("&")] == told
        assert preset.offer.endswith("{click_id}")


def test_an_advertiser_still_needs_a_token() -> None:
    text = catalog_of({"own": {}}).replace("acme:\n    token: s3cret", "acme: {preset: admitad}")
    assert [error.code for error in errors(text)] == ["catalog_missing_key"]
