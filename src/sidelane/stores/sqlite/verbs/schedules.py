"""keep_schedule, schedules, fire, enable_schedule, forget_schedule: what fires by itself (rules 13)."""

import apsw

from sidelane.model.schedule import Schedule, ScheduleList, ScheduleRecord, ScheduleTick
from sidelane.stores.serialization import dump_schedule, load_schedule
from sidelane.stores.sqlite import enqueue
from sidelane.stores.sqlite.sql import all_rows, first
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.validation import check_schedule

_SQL = statements(__file__)
_KNOWN = _SQL["known"]
_INSERT = _SQL["insert"]
_CHANGE = _SQL["change"]
_ALL = _SQL["all"]
_STEP = _SQL["step"]
_ENABLE = _SQL["enable"]
_DISABLE = _SQL["disable"]
_FORGET = _SQL["forget"]


def keep_schedule(connection: apsw.Connection, now: float, _touched: ChangeSet, schedule: Schedule) -> None:
    """Keep a schedule. A new one, or one that has changed, is due at once, so that somebody works its next firing out.

    Raises `JobRefused` where what it submits is no job.
    """
    check_schedule(schedule)
    definition = dump_schedule(schedule)
    for name in (schedule.name, *schedule.aliases):
        if first(connection, _KNOWN, name):
            connection.execute(_CHANGE, (name, schedule.name, definition))
            return
    connection.execute(_INSERT, (schedule.name, definition, now))


def schedules(connection: apsw.Connection, now: float) -> ScheduleList:
    """List all schedules by name."""
    return ScheduleList(
        now,
        tuple(
            ScheduleRecord(schedule=load_schedule(definition), enabled=bool(enabled), last=last, next=next_at, job=job)
            for definition, enabled, last, next_at, job in all_rows(connection, _ALL)
        ),
    )


def fire(connection: apsw.Connection, now: float, touched: ChangeSet, firing: ScheduleTick) -> bool:
    """Take a step that nobody has taken yet, and make the jobs it submits."""
    job = firing.specs[-1].id if firing.specs else None
    connection.execute(_STEP, (firing.name, firing.previous, firing.at, firing.next, job))
    if not connection.changes():
        return False
    enqueue.insert_if_absent(connection, firing.specs, now, touched)
    return True


def enable_schedule(connection: apsw.Connection, now: float, _touched: ChangeSet, name: str, enabled: bool) -> bool:
    """Let a schedule fire or not; one that was disabled counts from now."""
    if enabled:
        connection.execute(_ENABLE, (name, now))
    else:
        connection.execute(_DISABLE, (name,))
    return first(connection, _KNOWN, name) is not None


def forget_schedule(connection: apsw.Connection, _now: float, _touched: ChangeSet, name: str) -> bool:
    connection.execute(_FORGET, (name,))
    return connection.changes() > 0
