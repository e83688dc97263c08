"""Sentence: a sentence with values, so that a page can show it in another language."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in English, with the names of its values in braces. `str` fills them in. A value may be a sentence too."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format(**self.values)


def sentence(text: str, /, **values: object) -> Sentence:
    """Return a sentence with its values, e.g. `sentence("queue {name} is paused", name="chat")`."""
    return Sentence(text, values)


def counted(count: int, one: str, many: str, /, **values: object) -> Sentence:
    """Return the sentence about one thing, or the one about several, e.g. `counted(3, "1 job", "{count} jobs")`."""
    return Sentence(one, values) if count == 1 else Sentence(many, {"count": f"{count:,}", **values})
