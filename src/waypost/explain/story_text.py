"""A story as text for people: one heading an event, what matters below it, readable at 100 columns.

Owns: the layout. Reads a `Story`; prints to a Rich console, which leaves colours out where there is no terminal.
What came from outside may hold anything: nothing of it reaches the terminal that could steer it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from waypost.catalog.reading import duration_text
from waypost.explain.story import (
    AnyEvent,
    AttemptEvent,
    CallEvent,
    CheckLine,
    ClickEvent,
    ConversionState,
    DecisionEvent,
    HandledEvent,
    PostbackEvent,
    RuleLine,
    SetAsideEvent,
    Story,
)
from waypost.explain.times import time_text
from waypost.telemetry.printable import printable

_WIDTH_MIN = 100
_RULES_SHOWN_MAX = 60
_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "skip": "dim",
    "new": "bold green",
    "updated": "green",
    "duplicate": "yellow",
    "refused": "bold red",
    "set_aside": "bold red",
    "delivered": "bold green",
    "retry": "yellow",
    "given_up": "bold red",
    "unknown": "yellow",
    "queued": "yellow",
    "in flight": "yellow",
    "dead": "bold red",
    "held": "bold yellow",
    "dropped": "bold red",
    "superseded": "yellow",
    "redriven": "yellow",
    "missing": "bold red",
}


def story_console() -> Console:
    """Stdout; at least 100 columns wide where it is no terminal."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal and console.width < _WIDTH_MIN:
        console = Console(highlight=False, width=_WIDTH_MIN)
    return console


def print_story(story: Story, console: Console) -> None:
    """The whole story."""
    story = msgspec.convert(_printable(msgspec.to_builtins(story)), Story)
    heading = Text.assemble((f"{story.kind} {story.id}", "bold"))
    if story.partner:
        heading.append(f", partner {story.partner} only")
    console.print(heading)
    for conversion in story.conversions:
        _print_conversion(conversion, console)
    for event in story.events:
        console.print()
        _PRINTERS[type(event)](event, console)
    console.print()
    behind = sum(story.not_archived.values())
    note = f"{behind} frames are not archived yet; they were searched too." if behind else "The archive is up to date."
    console.print(Text(note, "dim"))


def _printable(content: Any) -> Any:
    """The same with all texts made fit for a terminal."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {printable(name): _printable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_printable(one) for one in content]
    return content


def _print_conversion(held: ConversionState, console: Console) -> None:
    text = Text(f"conversion {held.id} is now ")
    text.append(held.status, "bold")
    text.append(f": offer {held.offer}, goal {held.goal}, partner {held.partner}, payout {held.payout or 'none'}")
    if held.test:
        text.append(" (test)")
    console.print(text)


def _head(event: AnyEvent, title: str, mark: str, console: Console, *, test: bool = False) -> None:
    text = Text.assemble((time_text(event.at_ms), "cyan"), "  ", (title, "bold"))
    if mark:
        text.append("  ")
        text.append(mark, _STYLES.get(mark.partition(",")[0], ""))
    if test:
        text.append("  TEST", "magenta")
    console.print(text)


def _print_pairs(pairs: Iterable[tuple[str, str]], console: Console) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=12, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            table.add_row(Text(f"  {name}"), Text(value))
    console.print(table)


def _click(event: ClickEvent, console: Console) -> None:
    _head(event, event.kind, "", console, test=event.test)
    _print_pairs(
        (
            ("click id", event.click_id),
            ("link", f"{event.link or '?'} (route {event.route}) of partner {event.partner or '?'}"),
            ("offer", event.offer or "none could take it"),
            ("passed over", "\n".join(f"{one.offer}: {one.meaning} ({one.code})" for one in event.skipped)),
            ("visitor", "  ".join(f"{name}={value}" for name, value in event.visitor.items())),
            ("came", ", ".join(part for part in (event.mode, *event.marks) if part)),
            ("parameters", "  ".join(f"{name}={value}" for name, value in event.parameters.items())),
            ("target", event.target),
            ("from", "  ".join(part for part in (event.ip, event.user_agent, event.referrer) if part)),
            ("catalog", f"version {event.catalog}"),
            ("kept", f"{event.feed} position {event.position}{'' if event.is_stored else ', not in the click store'}"),
        ),
        console,
    )


def _call(event: CallEvent, console: Console) -> None:
    state = {"judged": "", "parked": "parked until its click arrives", "unread": "the pipeline has not read it yet"}
    _head(event, "postback in", state[event.state], console, test=event.test)
    _print_pairs(
        (
            ("receipt", event.receipt),
            ("query", f"{event.method} {event.query}"),
            ("body", f"{event.content_type}: {event.body}" if event.body else ""),
            ("from", event.ip),
            ("auth", f"{event.auth}{', advertiser ' + event.advertiser if event.advertiser else ''}"),
            ("judged by", time_text(event.due_ms) if event.due_ms else ""),
            ("catalog", f"version {event.catalog}"),
            ("kept", f"{event.feed} position {event.position}"),
        ),
        console,
    )


def _decision(event: DecisionEvent, console: Console) -> None:
    mark = event.verdict + (f", {event.code}" if event.code else "")
    _head(event, "decision", mark, console, test=event.test)
    status = (
        event.status if event.status == event.status_before else f"{event.status_before or 'none'} -> {event.status}"
    )
    amounts = (("sum", event.sum), ("revenue", event.revenue), ("reported", event.reported), ("payout", event.payout))
    has_conversion = event.verdict in ("new", "updated", "duplicate")
    _print_pairs(
        (
            ("meaning", event.meaning),
            ("error", event.error),
            ("bytes", event.raw),
            ("on receipt", f"{event.receipt} ({event.source} position {event.source_position})"),
            ("conversion", event.conversion),
            ("status", status if has_conversion else ""),
            ("for", f"offer {event.offer or '?'}, goal {event.goal or '?'}, partner {event.partner or '?'}"),
            ("amounts", "  ".join(f"{name} {value}" for name, value in amounts if value)),
            ("txn id", event.txn_id),
            ("waited since", time_text(event.parked_ms) if event.parked_ms else ""),
            ("catalogs", f"version {event.catalog} at the decision, {event.terms_catalog or 'none'} at click time"),
        ),
        console,
    )
    _print_checks(event.checks, console)
    _print_rules(event.rules, console)


def _print_checks(checks: list[CheckLine], console: Console) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(no_wrap=True, min_width=20)
    table.add_column(overflow="fold")
    for nth, check in enumerate(checks):
        detail = check.detail or check.meaning
        name = Text(check.name, _STYLES.get(check.result, ""))
        result = Text(f"{check.result} ", _STYLES.get(check.result, ""))
        table.add_row(Text("  checks" if nth == 0 else "", "dim"), Text.assemble(result, name), Text(detail))
    if checks:
        console.print(table)


def _print_rules(rules: list[RuleLine], console: Console) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=12, style="dim")
    table.add_column(overflow="fold")
    for nth, rule in enumerate(_worth_a_line(rules)):
        outcome = Text(f"postback {rule.postback}", "green") if rule.postback else Text(f"stopped: {rule.stopped_by}")
        where = f" (on {rule.wants})" if rule.wants else ""
        named = f" {rule.name}" if rule.name else ""
        whose = f"{rule.partner}'s " if rule.partner else ""
        table.add_row(
            Text("  rules" if nth == 0 else ""), Text.assemble(f"{whose}{rule.rule}{named}{where}: ", outcome)
        )
    more = len(rules) - _RULES_SHOWN_MAX
    if more > 0:
        table.add_row("", f"{more} more rules were stopped; --format json shows them all")
    if rules:
        console.print(table)


def _worth_a_line(rules: list[RuleLine]) -> list[RuleLine]:
    """All of them, where they are few; of many those that fired, and the first of those that did not."""
    if len(rules) <= _RULES_SHOWN_MAX:
        return rules
    return sorted(rules, key=lambda rule: not rule.postback)[:_RULES_SHOWN_MAX]


def _postback(event: PostbackEvent, console: Console) -> None:
    _head(event, f"postback {event.id}", event.state, console, test=event.test)
    waits = event.state == "queued" and event.due_ms > 0
    named = f" ({event.rule_name})" if event.rule_name else ""
    rule = f"rule {event.rule}{named} of catalog version {event.catalog}"
    _print_pairs(
        (
            ("to", f"partner {event.partner}, lane {event.lane}, {rule}"),
            ("values", "  ".join(f"{name}={value}" for name, value in event.values.items())),
            ("corrects", event.corrects),
            ("resend", event.job),
            ("in order by", event.order_key),
            ("attempts", str(event.attempts)),
            ("lane", event.lane_state),
            ("delay", duration_text(event.delay_ms) if event.delay_ms else ""),
            ("auth", event.auth),
            ("batch", f"up to {event.batch} in a request" if event.batch else ""),
            ("next try" if event.attempts else "waits until", time_text(event.due_ms) if waits else ""),
            ("kept", f"{event.feed} position {event.position}"),
        ),
        console,
    )


def _attempt(event: AttemptEvent, console: Console) -> None:
    repeat = ", a repeat" if event.is_repeat else ""
    _head(event, f"attempt {event.attempt} of {event.postback}", event.result, console, test=event.test)
    failure = f"{event.code}: {event.detail or event.meaning}" if event.code else ""
    timings = (
        f"dns {event.dns_ms:.1f}  connect {event.connect_ms:.1f}  tls {event.tls_ms:.1f}"
        f"  first byte {event.first_byte_ms:.1f}  total {event.total_ms:.1f} ms"
        f"{'  (connection reused)' if event.is_connection_reused else ''}"
    )
    _print_pairs(
        (
            ("reason", event.reason + repeat),
            ("request", f"{event.method} {event.url}"),
            ("batch", f"with {event.carried - 1} others in one request" if event.carried > 1 else ""),
            ("answer", f"status {event.status}" + (f" from {event.address}" if event.address else "")),
            ("failure", failure),
            ("timings", timings),
            ("body", event.body),
            ("next try", time_text(event.next_due_ms) if event.next_due_ms else ""),
            ("kept", f"{event.feed} position {event.position}"),
        ),
        console,
    )


def _handled(event: HandledEvent, console: Console) -> None:
    _head(event, f"postback {event.postback}", event.result, console, test=event.test)
    _print_pairs(
        (
            ("by", event.by),
            ("why", event.why),
            ("stood for", f"{event.code}: {event.meaning}" if event.code else ""),
            ("attempts", str(event.attempts)),
            ("kept", f"{event.feed} position {event.position}"),
        ),
        console,
    )


def _set_aside(event: SetAsideEvent, console: Console) -> None:
    _head(event, "set aside", event.code, console)
    _print_pairs(
        (
            ("item", f"{event.source} position {event.source_position}"),
            ("error", event.detail),
            ("bytes", event.raw),
        ),
        console,
    )


_PRINTERS: dict[type, Callable[[Any, Console], None]] = {
    ClickEvent: _click,
    CallEvent: _call,
    DecisionEvent: _decision,
    PostbackEvent: _postback,
    AttemptEvent: _attempt,
    HandledEvent: _handled,
    SetAsideEvent: _set_aside,
}
