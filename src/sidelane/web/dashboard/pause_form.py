"""The form that pauses a queue, a task or a batch. The fields `reason` and `for`, a duration such as "2h", may be empty."""

from sidelane.admin.pauses import MAX_PAUSE, PauseRequest
from sidelane.model.durations import DAY, duration_of
from sidelane.model.errors import ArgumentsError
from sidelane.model.sentence import sentence
from sidelane.web.dashboard.site import View


async def pause_request(view: View) -> PauseRequest:
    """Return what the form says. Raises `ArgumentsError` if the duration makes no sense."""
    form = await view.form()
    text = str(form.get("for", "")).strip()
    try:
        seconds = duration_of(text) if text else None
    except ValueError as error:
        raise ArgumentsError(str(error)) from error
    if seconds is not None and not 0 < seconds <= MAX_PAUSE:
        text = "A pause lasts at most {days} days, or until an operator resumes."
        raise ArgumentsError(sentence(text, days=f"{MAX_PAUSE / DAY:.0f}"))
    return PauseRequest(by=view.operator.name, reason=str(form.get("reason", "")).strip(), seconds=seconds)
