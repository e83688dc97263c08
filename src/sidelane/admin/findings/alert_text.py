"""Text of alerts: a JSON document for any webhook, or text for Slack or Discord."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.admin.findings.finding import MARKS, Finding
from sidelane.model.codec import rfc3339
from sidelane.model.json_text import dump_json
from sidelane.model.printable import printable_line

JSON, SLACK, DISCORD = "json", "slack", "discord"

HOSTS = {"hooks.slack.com": SLACK, "discord.com": DISCORD, "discordapp.com": DISCORD}
"""Formats by the host of the receiver, or by its parent domain."""

MAX_ALERTS = 20
"""Alerts of one message. The message says how many more there are."""

MAX_TEXT = 1900
"""Characters of a text. Discord accepts 2,000."""


def format_of(chosen: str, host: str) -> str:
    """Return the format of the messages to a host: the chosen one, or the usual one of this host."""
    domain = ".".join(host.split(".")[-2:])
    return chosen or HOSTS.get(host) or HOSTS.get(domain) or JSON


def alert_body(style: str, message_id: str, started: Sequence[Finding], over: Mapping[str, str], now: float) -> str:
    """Return the JSON text of a message. `over` has the sentences of findings that are over, by key."""
    if style == SLACK:
        text = _text(started, over).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return dump_json({"text": text})
    if style == DISCORD:
        return dump_json({"content": _text(started, over), "allowed_mentions": {"parse": []}})
    return dump_json(_document(message_id, started, over, now))


def _document(message_id: str, started: Sequence[Finding], over: Mapping[str, str], now: float) -> Mapping[str, Any]:
    alerts = [{"event": "started", **finding.document()} for finding in started]
    alerts += [{"event": "over", "key": key, "sentence": sentence} for key, sentence in over.items()]
    return {
        "type": "sidelane.alerts",
        "id": message_id,
        "at": rfc3339(now),
        "alerts": alerts[:MAX_ALERTS],
        "more": max(0, len(alerts) - MAX_ALERTS),
    }


def _text(started: Sequence[Finding], over: Mapping[str, str]) -> str:
    """Return a line for each finding, cut at the end of a line. An error in a finding cannot add lines."""
    lines = [
        printable_line(
            f"{MARKS[each.severity]} {each.sentence}. {each.evidence_text} → {each.action.text}: {each.action.command}"
        )
        for each in started
    ]
    lines += [printable_line(f"Over: {sentence}") for sentence in over.values()]
    kept: list[str] = []
    for line in lines[:MAX_ALERTS]:
        cut = line if len(line) <= MAX_TEXT // 2 else f"{line[: MAX_TEXT // 2 - 1]}…"
        if sum(map(len, kept)) + len(kept) + len(cut) > MAX_TEXT:
            break
        kept.append(cut)
    more = len(lines) - len(kept)
    return "\n".join([*kept, *([f"{more} more: `sidelane attention`"] if more else [])])
