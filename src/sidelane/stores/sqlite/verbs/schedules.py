"""keep_schedule, schedules, fire, enable_schedule, forget_schedule: what fires by itself (rules 13)."""

import apsw

from sidelane.model.schedule import Firing, Schedule, ScheduleRecord, Timetable
from sidelane.stores.checking import check_schedule
from sidelane.stores.sqlite import arrivals
from sidelane.stores.sqlite.rows import all_rows, first_row
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched
from sidelane.stores.texts import schedule_of, schedule_text

_SQL = statements(__file__)
_KNOWN = _SQL["known"]
_INSERT = _SQL["insert"]
_CHANGE = _SQL["change"]
_ALL = _SQL["all"]
_STEP = _SQL["step"]
_ENABLE = _SQL["enable"]
_DISABLE = _SQL["disable"]
_FORGET = _SQL["forget"]


def keep_schedule(connection: apsw.Connection, now: float, _touched: Touched, schedule: Schedule) -> None:
    """Keep a schedule. A new one, or one that has changed, is due at once, so that somebody works its next firing out.

    Raises `JobRefused` where what it submits is no job.
    """
    check_schedule(schedule)
    definition = schedule_text(schedule)
    for name in (schedule.name, *schedule.aliases):
        if first_row(connection, _KNOWN, name):
            connection.execute(_CHANGE, (name, schedule.name, definition))
            return
    connection.execute(_INSERT, (schedule.name, definition, now))


def schedules(connection: apsw.Connection, now: float) -> Timetable:
    """List all schedules by name."""
    return Timetable(
        now,
        tuple(
            ScheduleRecord(schedule=schedule_of(definition), enabled=bool(enabled), last=last, next=next_at, job=job)
            for definition, enabled, last, next_at, job in all_rows(connection, _ALL)
        ),
    )


def fire(connection: apsw.Connection, now: float, touched: Touched, firing: Firing) -> bool:
    """Take a step that nobody has taken yet, and make the jobs it submits."""
    job = firing.specs[-1].id if firing.specs else None
    connection.execute(_STEP, (firing.name, firing.previous, firing.at, firing.next, job))
    if not connection.changes():
        return False
    arrivals.insert_where_free(connection, firing.specs, now, touched)
    return True


def enable_schedule(connection: apsw.Connection, now: float, _touched: Touched, name: str, enabled: bool) -> bool:
    """Let a schedule fire or not; one that was disabled counts from now."""
    if enabled:
        connection.execute(_ENABLE, (name, now))
    else:
        connection.execute(_DISABLE, (name,))
    return first_row(connection, _KNOWN, name) is not None


def forget_schedule(connection: apsw.Connection, _now: float, _touched: Touched, name: str) -> bool:
    connection.execute(_FORGET, (name,))
    return connection.changes() > 0
