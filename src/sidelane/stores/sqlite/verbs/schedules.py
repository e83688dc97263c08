"""upsert_schedule, list_schedules, fire, set_schedule_enabled, delete_schedule (rule 13)."""

from sidelane.model.schedule import Schedule, ScheduleList, ScheduleRecord, ScheduleTick
from sidelane.stores.serialization import dump_schedule, load_schedule
from sidelane.stores.sqlite.enqueue import insert_if_absent
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.validation import check_schedule

SQL = statements(__file__)


def upsert_schedule(tx: Transaction, schedule: Schedule) -> None:
    """Insert or update a schedule. A new or changed schedule is due immediately, so that a process computes its next time.

    Raises `JobRefused` if its job is invalid.
    """
    check_schedule(schedule)
    definition = dump_schedule(schedule)
    for name in (schedule.name, *schedule.aliases):
        if tx.first(SQL.exists, name):
            tx.execute(SQL.update, name, schedule.name, definition)
            return
    tx.execute(SQL.insert, schedule.name, definition, tx.now)


def list_schedules(tx: Transaction) -> ScheduleList:
    """Return all schedules by name."""
    return ScheduleList(
        tx.now,
        tuple(
            ScheduleRecord(schedule=load_schedule(definition), enabled=bool(enabled), last=last, next=next_at, job=job)
            for definition, enabled, last, next_at, job in tx.all(SQL.all)
        ),
    )


def fire(tx: Transaction, tick: ScheduleTick) -> bool:
    """Advance a schedule unless another process has done so, and submit the jobs of the tick."""
    job = tick.specs[-1].id if tick.specs else None
    if not tx.execute(SQL.advance, tick.name, tick.previous, tick.at, tick.next, job):
        return False
    insert_if_absent(tx, tick.specs)
    return True


def set_schedule_enabled(tx: Transaction, name: str, enabled: bool) -> bool:
    """Enable or disable a schedule. Return whether it exists. A schedule that was disabled fires at its next time from now."""
    if enabled:
        tx.execute(SQL.enable, name, tx.now)
    else:
        tx.execute(SQL.disable, name)
    return tx.first(SQL.exists, name) is not None


def delete_schedule(tx: Transaction, name: str) -> bool:
    return tx.execute(SQL.delete, name) > 0
