"""Renders templates with 3, 10 and 30 macros, against str.format and Jinja2 on the same values in the same run.

Every render gets other values: ids with dashes and underscores, amounts with a point, short words. Waypost encodes
each of them for the query it stands in; str.format and Jinja2 do not, so they are favoured. Two more columns say what
Jinja2 costs with its own `urlencode`, and Waypost where every fourth set of values has one that must be encoded.

The rounds of all candidates take turns, so that a slow moment of the machine meets each; a figure is a median.
Run: python bench/macros.py
"""

import argparse
import json
import random
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import jinja2

from waypost.macros.template import Position, compile_template

ROUNDS = 11
SETS = 512  # different sets of values, more than any cache of a loop would help with
RENDERS = 4 * SETS

Render = Callable[[dict[str, str]], str]


def value_sets(names: list[str], *, seed: int, unsafe: bool) -> list[dict[str, str]]:
    """Values as they come: mostly ids, some amounts, words, times and empty ones."""
    draw = random.Random(seed)
    kinds: list[Callable[[], str]] = [
        lambda: str(uuid.UUID(int=draw.getrandbits(128))),
        lambda: f"{draw.getrandbits(60):x}_{draw.randrange(1000)}",
        lambda: f"{draw.randrange(100000) / 100:.2f}",
        lambda: draw.choice(["approved", "pending", "EUR", "USD", "purchase", "de", "facebook"]),
        lambda: str(draw.randrange(1_600_000_000, 1_800_000_000)),
        lambda: "",
    ]
    sets = [{name: draw.choice(kinds)() for name in names} for _ in range(SETS)]
    if unsafe:
        for values in sets[::4]:
            values[draw.choice(names)] = "a b&c=é"
    return sets


def microseconds(candidates: dict[str, tuple[Render, list[dict[str, str]]]]) -> dict[str, float]:
    """The median time of one render by each candidate."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, (render, sets) in candidates.items():
            start = time.perf_counter()
            for _ in range(RENDERS // SETS):
                for values in sets:
                    render(values)
            times[name].append((time.perf_counter() - start) / RENDERS * 1e6)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    rows = []
    print(
        f"{'macros':>6} {'waypost/s':>10} {'µs':>6} {'×format':>8} {'×jinja2':>8} µs: format jinja2 urlencode encoding"
    )
    for count in (3, 10, 30):
        names = [f"sub{number}" for number in range(1, count + 1)]
        base = "http://ads.example/pb?"
        text = base + "&".join(f"{name}={{{name}}}" for name in names)
        jinja = jinja2.Template(base + "&".join(f"{name}={{{{{name}}}}}" for name in names))
        encoding_jinja = jinja2.Template(base + "&".join(f"{name}={{{{{name}|urlencode}}}}" for name in names))
        template = compile_template(text, position=Position.URL)
        sets = value_sets(names, seed=count, unsafe=False)
        mixed = value_sets(names, seed=count, unsafe=True)
        assert all(template.render(values) == text.format_map(values) == jinja.render(values) for values in sets)
        assert "a%20b%26c%3D%C3%A9" in template.render(mixed[0])
        taken = microseconds({
            "ours": (template.render, sets), "format": (text.format_map, sets), "jinja": (jinja.render, sets),
            "jinja urlencode": (encoding_jinja.render, sets), "ours encoding": (template.render, mixed),
        })  # fmt: skip
        ours = taken["ours"]
        to_format, to_jinja = taken["format"] / ours, taken["jinja"] / ours
        others = " ".join(f"{taken[name]:.2f}" for name in ("format", "jinja", "jinja urlencode", "ours encoding"))
        print(f"{count:>6} {1e6 / ours:>10,.0f} {ours:>6.2f} {to_format:>8.2f} {to_jinja:>8.2f}   {others}")
        row = {"what": f"macros: render with {count} macros", "figure": 1e6 / ours, "unit": "/s", "cpu_us": ours}
        rows.append(row | {"reference": 1e6 / taken["format"], "against": "str.format"})
        beside_jinja = {"what": f"{row['what']}, beside Jinja2", "reference": 1e6 / taken["jinja"], "against": "Jinja2"}
        rows.append(row | beside_jinja)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
