"""From a call that is accepted to its postback on the wire, through the whole chain: `python bench/chain.py`.

What it starts: `waypost run` on core 0 (one door, pipeline, courier, archivist, console, every commit fsynced), 50
partners and the caller on core 1. First as many calls as the door takes: the rate at which the chain delivers them is
its top rate. Then an open loop at half of it. A postback's time counts from when its call was due, in the caller's
clock, until its partner has read the request, on the same monotonic clock; nothing late is left out. Asserts only that
every call had its postback, and no more than one.
"""

import argparse
import json
import statistics
from pathlib import Path

from house import House, house, wait
from open_loop import quantiles

PARTNERS = 50
P50_MS, P99_MS = 25, 100


def top_rate(chain: House, count: int) -> float:
    """Postbacks a second when there is always more to do."""
    chain.click(count)
    sent = chain.call(count, 0)
    before = int(chain.tell("count"))
    print(f"the door took {count:,} calls at {count / (sent[-1].answered_s - sent[0].due_s):,.0f}/s", end="")
    print(f", {before:,} of them were delivered by then")
    wait(lambda: int(chain.tell("count")) >= count, "all delivered")
    arrived = chain.arrived()
    rate = count / (max(one.at_s for one in arrived) - sent[0].due_s)
    print(f"top rate of the chain: {rate:,.0f}/s, accepted to the last one delivered")
    return rate


def at_rate(chain: House, rate: float, seconds: float) -> dict[str, float]:
    """Latencies in ms of an open loop at this rate: from due, and from the answer."""
    count = round(rate * seconds)
    chain.click(count)
    chain.arrived()
    before = int(chain.tell("count"))
    sent = chain.call(count, rate)
    wait(lambda: int(chain.tell("count")) >= before + count, "all delivered")
    arrived = {one.n: one.at_s for one in chain.arrived()}
    if len(arrived) != count or int(chain.tell("count")) != before + count:
        raise SystemExit(f"{count} calls, {len(arrived)} postbacks")
    from_due = quantiles([arrived[one.n] - one.due_s for one in sent])
    accepted = quantiles([one.answered_s - one.due_s for one in sent])
    figures = "  ".join(f"{name} {from_due[name]:.1f} ms" for name in ("p50", "p90", "p99", "p99.9", "max"))
    print(f"open loop at {rate:,.0f}/s for {seconds:.0f} s: {figures}  (accepted: p99 {accepted['p99']:.1f} ms)")
    return from_due


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="a folder on a real disk")
    parser.add_argument("--count", type=int, default=20_000, help="calls of the round that finds the top rate")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0, help="of the open loop; default: half the top rate")
    parser.add_argument("--json", type=Path, help="write the figures here too (for bench/run.py)")
    options = parser.parse_args()
    with house(options.data, PARTNERS) as chain:
        top = 0.0 if options.rate else top_rate(chain, options.count)
        rate = options.rate or top / 2
        found = [at_rate(chain, rate, options.seconds) for _ in range(options.rounds)]
    rows = [
        {"what": f"chain: accepted to wire at half the top rate, {name}", "unit": "ms"}
        | {"figure": statistics.median(one[name] for one in found)}
        for name in ("p50", "p99")
    ]
    if top:
        rows.insert(0, {"what": "chain: top rate on one core, all roles", "figure": top, "unit": "/s"})
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
