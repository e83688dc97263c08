"""Times of schedules in words."""

import pytest

from sidelane.admin.schedule_text import schedule_text
from sidelane.model.job import JobSpec
from sidelane.model.schedule import Schedule

SPEC = JobSpec(id="", task="t")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("5 * * * *", "every hour at minute 5"),
        ("0 */6 * * *", "every 6 hours at minute 0"),
        ("30 6 * * *", "every day at 06:30"),
        ("0 9,18 * * *", "every day at 09:00, 18:00"),
        ("0 8 * * 1-5", "from Monday to Friday at 08:00"),
        ("0 8 * * MON-FRI", "from Monday to Friday at 08:00"),
        ("0 8 * * 0", "every Sunday at 08:00"),
        ("0 8 * * 7", "every Sunday at 08:00"),
        ("0 8 * * wed", "every Wednesday at 08:00"),
        ("0 3 1 * *", "on day 1 of every month at 03:00"),
    ],
)
def test_usual_cron_expressions_are_put_in_words(cron: str, expected: str) -> None:
    assert str(schedule_text(Schedule(name="s", spec=SPEC, cron=cron))) == expected


@pytest.mark.parametrize(
    "cron", ["*/5 9-15 * * 1-5", "0 8 1 * 1", "0 8 * 6 *", "0 8 * * 2#1", "0 8 L * *", "0 8 * * 1,3", "0 0 8 * * *"]
)
def test_other_cron_expressions_have_no_words(cron: str) -> None:
    assert schedule_text(Schedule(name="s", spec=SPEC, cron=cron)) is None


@pytest.mark.parametrize(("every", "expected"), [(0.5, "every 0.5 s"), (3, "every 3 s"), (300, "every 5 min")])
def test_intervals_are_put_in_words(every: float, expected: str) -> None:
    assert str(schedule_text(Schedule(name="s", spec=SPEC, every=every))) == expected
