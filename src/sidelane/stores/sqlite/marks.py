"""Marks: what tells that a topic has changed, whoever changed it. A job's or batch's own row is its mark; others have a count."""

import json
from collections.abc import Iterable

import apsw

from sidelane.stores.contract import batch_topic, job_topic
from sidelane.stores.sqlite.sql import all_rows
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_JOBS = _SQL["jobs"]
_BATCHES = _SQL["batches"]
_COUNTS = _SQL["counts"]
_RAISE = _SQL["raise"]

_JOB = job_topic("")
_BATCH = batch_topic("")

Version = tuple[int, ...] | None


def versions_of(connection: apsw.Connection, topics: Iterable[str]) -> dict[str, Version]:
    """Give the marks of these topics; None for what is not there."""
    found: dict[str, Version] = dict.fromkeys(topics)
    jobs = [topic.removeprefix(_JOB) for topic in found if topic.startswith(_JOB)]
    batches = [topic.removeprefix(_BATCH) for topic in found if topic.startswith(_BATCH)]
    counted = [topic for topic in found if not topic.startswith((_JOB, _BATCH))]
    if jobs:
        for job_id, *mark in all_rows(connection, _JOBS, json.dumps(jobs)):
            found[job_topic(job_id)] = tuple(mark)
    if batches:
        for batch_id, *mark in all_rows(connection, _BATCHES, json.dumps(batches)):
            found[batch_topic(batch_id)] = tuple(mark)
    if counted:
        for topic, *mark in all_rows(connection, _COUNTS, json.dumps(counted)):
            found[topic] = tuple(mark)
    return found


def bump(connection: apsw.Connection, topics: Iterable[str]) -> None:
    """Count one change of each of these topics."""
    connection.executemany(_RAISE, [(topic,) for topic in topics])
