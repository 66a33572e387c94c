"""What `waypost resend` prints: previews and jobs, for people and for programs.

Owns: the words. Reads catalog views for names; writes nothing.
"""

from collections.abc import Iterable
from typing import Any

from waypost.explain.names import Names
from waypost.explain.resend_jobs import JobRow
from waypost.explain.resends import LEFT, Preview, Wanted
from waypost.explain.times import time_text


def preview_text(preview: Preview, wanted: Wanted, names: Names, behind: int) -> str:
    """What a job would come to, by partner and rule; what is left out, and why."""
    total = preview.postbacks.total()
    what = f"{total} postbacks of {preview.steps} conversions" if wanted.missing else f"{total} postbacks"
    lines = [f"to send    {what}"]
    for partner in sorted({partner for partner, _ in preview.postbacks}):
        rules = sorted((rule, n) for (owner, rule), n in preview.postbacks.items() if owner == partner)
        first = ", ".join(preview.first_ids.get(partner, ()))
        counts = ", ".join(f"{n} by rule {_rule(names, partner, rule)}" for rule, n in rules)
        lines.append(f"           {names.partner_name(0, partner)}: {counts}" + (f"; first {first}" if first else ""))
    for why, n in sorted(preview.left.items()):
        lines.append(f"left out   {n}: {LEFT.get(why, why)}")
    if preview.left_ids:
        lines.append(f"           {', '.join(preview.left_ids)}")
    if behind:
        lines.append(f"archive    is {behind} frames behind; these were read from the journals")
    return "\n".join(lines)


def preview_json(preview: Preview, names: Names, behind: int) -> dict[str, Any]:
    return {
        "steps": preview.steps,
        "postbacks": preview.postbacks.total(),
        "by_rule": [
            {"partner": names.partner_name(0, partner), "rule": _rule(names, partner, rule), "postbacks": n}
            for (partner, rule), n in sorted(preview.postbacks.items())
        ],
        "left_out": dict(sorted(preview.left.items())),
        "first": {names.partner_name(0, partner): ids for partner, ids in preview.first_ids.items()},
        "archive_behind": behind,
    }


def jobs_text(rows: Iterable[JobRow], names: Names) -> str:
    """A paragraph a job, the newest first."""
    found = [_job_text(row, names) for row in sorted(rows, key=lambda row: -row.at_ms)]
    return "\n".join(found) if found else "there are no jobs of resends"


def _job_text(row: JobRow, names: Names) -> str:
    lines = [f"{row.id}  {row.state}  {time_text(row.at_ms)}  by {row.by or 'unknown'}  {wanted_text(row, names)}"]
    counts = [f"{row.added} added", f"{row.delivered} delivered", f"{row.failed} failed", f"{row.dropped} dropped"]
    counts.append(f"{row.waiting} waiting")
    if row.written:
        counts.append(f"{row.written} not taken by the pipeline yet")
    lines.append("    " + ", ".join(counts))
    lines += [f"    {n} left out: {LEFT.get(why, why)}" for why, n in sorted(row.refused.items())]
    if row.why:
        lines.append(f"    because: {row.why}")
    return "\n".join(lines)


def wanted_text(row: JobRow, names: Names) -> str:
    """What was asked for, as options."""
    wanted = row.wanted
    parts = ["--missing"] if wanted.missing else []
    if wanted.partner:
        parts.append(f"--partner {names.partner_name(0, wanted.partner)}")
    parts += [f"--{name} {value}" for name in ("status", "goal", "code") if (value := getattr(wanted, name))]
    parts += [f"--from {time_text(wanted.from_ms)}"] if wanted.from_ms else []
    parts += [f"--to {time_text(wanted.to_ms)}"] if wanted.to_ms else []
    parts += [f"({len(wanted.ids)} ids)"] if wanted.ids else []
    parts.append(f"--rate {1_000_000 / row.every_us:g}/s" if row.every_us else "--rate max")
    return " ".join(parts)


def _rule(names: Names, partner: int, number: int) -> str:
    rule = names.rule(0, partner, number)
    return rule.name if rule is not None and rule.name else str(number)
