"""Job ids as operators write them: whole, or a prefix that only one of the newest jobs has."""

from collections.abc import Sequence

from sidelane.model.errors import ArgumentsError
from sidelane.model.job import JobRecord, Query
from sidelane.stores.contract import Store

MIN_PREFIX = 6
"""Characters of a prefix at least. A shorter text is an id."""

MAX_SEARCHED = 5_000
"""Newest jobs that are searched for a prefix. No store has an index of prefixes."""

PAGE_SIZE = 500

MAX_LISTED = 10
"""Ids that the error of an ambiguous prefix lists."""


async def full_ids(store: Store, texts: Sequence[str]) -> list[str]:
    """Return the id that each text is, or is the prefix of; an unknown text is unchanged.

    The newest jobs are read only if a text is no id. Raises `ArgumentsError` if several of them have a prefix.
    """
    found = await store.get(texts)
    unknown = [text for text, record in zip(texts, found, strict=True) if record is None and len(text) >= MIN_PREFIX]
    if not unknown:
        return list(texts)
    matches = await _matches(store, unknown)
    return [_only(text, matches.get(text, [])) for text in texts]


async def _matches(store: Store, prefixes: Sequence[str]) -> dict[str, list[JobRecord]]:
    """Return those of the newest jobs whose ids begin with each prefix."""
    matches: dict[str, list[JobRecord]] = {prefix: [] for prefix in prefixes}
    before: int | None = None
    for _ in range(MAX_SEARCHED // PAGE_SIZE):
        page = await store.list_jobs(Query(before=before, limit=PAGE_SIZE))
        for prefix, found in matches.items():
            found += [record for record in page if record.id.startswith(prefix)]
        if len(page) < PAGE_SIZE:
            break
        before = page[-1].sequence
    return matches


def _only(text: str, matches: Sequence[JobRecord]) -> str:
    if len(matches) <= 1:
        return matches[0].id if matches else text
    lines = [f"{record.id}  {record.state}  {record.spec.task}" for record in matches[:MAX_LISTED]]
    more = [f"and {len(matches) - MAX_LISTED:,} more"] if len(matches) > MAX_LISTED else []
    raise ArgumentsError("\n".join([f"{text!r} begins the ids of several jobs. Add characters:", *lines, *more]))
