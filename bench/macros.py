"""Renders a second of templates with 3, 10 and 30 macros, against str.format on the same values in the same run.

str.format neither encodes nor filters: it is the floor. Run: python bench/macros.py
"""

import argparse
import json
import time
from pathlib import Path

from waypost.macros.template import Position, compile_template

ROUNDS = 5
RENDERS = 20_000


def renders_a_second(render: object, argument: dict[str, str]) -> float:
    assert callable(render)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(RENDERS):
            render(argument)
        best = min(best, time.perf_counter() - start)
    return RENDERS / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    rows = []
    print(f"{'macros':>6} {'waypost/s':>12} {'µs each':>8} {'str.format/s':>13} {'ratio':>6}")
    for count in (3, 10, 30):
        names = [f"sub{number}" for number in range(1, count + 1)]
        text = "http://ads.example/pb?" + "&".join(f"{name}={{{name}}}" for name in names)
        values = {name: f"value-{name}" for name in names}
        template = compile_template(text, position=Position.URL)
        assert template.render(values) == text.format_map(values)
        ours = renders_a_second(template.render, values)
        floor = renders_a_second(text.format_map, values)
        print(f"{count:>6} {ours:>12,.0f} {1e6 / ours:>8.2f} {floor:>13,.0f} {ours / floor:>6.2f}")
        row = {"what": f"macros: render with {count} macros", "figure": ours, "unit": "/s", "cpu_us": 1e6 / ours}
        rows.append(row | {"reference": floor, "against": "str.format"})
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
