"""Printable text: foreign text for terminals and logs, without characters that would act on them.

These are line separators, marks that change the direction of text, and control characters, because terminals execute sequences
that begin with ESC or CSI. Each is written as an escape, e.g. `\\x1b`, so that a reader sees what was there.
"""

import re

_UNPRINTABLE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_UNPRINTABLE}]")
_IN_LINE = re.compile(rf"[\t\n{_UNPRINTABLE}]")


def printable(text: str) -> str:
    """Return a text of several lines with characters that would act on a terminal escaped. Line ends and tabs stay."""
    return _IN_TEXT.sub(_escape, text.replace("\r\n", "\n"))


def printable_line(text: str) -> str:
    """Return a text on one line: line ends and tabs are escaped too, so that it cannot look like several lines."""
    return _IN_LINE.sub(_escape, text)


def printable_json(text: str) -> str:
    """Return JSON text with the same meaning, in which characters that would act on a terminal are written as JSON escapes."""
    if text.isascii() and "\x7f" not in text:  # JSON text escapes the control characters below
        return text
    return _IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
