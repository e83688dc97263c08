"""The published table of events: their names and what their data holds. It is frozen: members are added, never changed.

| event | id | data | when |
|---|---|---|---|
| `job` | no | `JobDocument` | first in every stream: the job as it stands |
| `attempt` | yes | `AttemptData` | the job starts over; what came before it is void |
| `progress` | yes | `ProgressData` | the task says how far it is |
| `token` | yes | `TokenData` | a piece of the text being made |
| any other | yes | the task's own | the task emitted it |
| `gap` | no | `GapData` | the cursor is not in the log any more: the log follows from its beginning |
| `gap` | yes | `GapData`, with `missing` | so many events that belong here were lost |
| `end` | yes | `EndData` | once, and last: how the job ended |

The stream of a batch has two events, without ids: `batch`, a `BatchDocument`, first and after every change, and `end`, last.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sidelane.model.event import ATTEMPT, END, GAP, JOB, PROGRESS, TOKEN, Event
from sidelane.model.job import State
from sidelane.web.problems import ProblemDocument
from sidelane.web.schemas import BatchDocument, JobDocument


class Data(BaseModel):
    """What an event holds; readers ignore members they do not know."""

    model_config = ConfigDict(extra="allow")


class AttemptData(Data):
    """The job starts over."""

    attempt: int = Field(ge=2, description="The number of the attempt that begins.")


class ProgressData(Data):
    """How far the task says it is."""

    percent: float = Field(ge=0, le=100)
    message: str


class TokenData(Data):
    """A piece of the text being made."""

    text: str


class GapData(Data):
    """Without `missing`, the cursor is not in the log any more, and the log follows from its beginning."""

    missing: int | None = Field(None, ge=1, description="How many events that belong here were lost.")


class EndData(Data):
    """How the job ended: with `result` where it succeeded, with `problem` where it failed. Of a batch, with neither."""

    id: str
    state: State
    result: Any = None
    problem: ProblemDocument | None = None


BATCH = "batch"

TABLE: dict[str, type[BaseModel]] = {
    JOB: JobDocument,
    ATTEMPT: AttemptData,
    PROGRESS: ProgressData,
    TOKEN: TokenData,
    GAP: GapData,
    END: EndData,
}


def schemas() -> dict[str, Any]:
    """Give the JSON Schema of each event's data, by event name."""
    table: dict[str, type[BaseModel]] = {**TABLE, BATCH: BatchDocument}
    return {name: model.model_json_schema(mode="serialization", by_alias=True) for name, model in table.items()}


def sse(name: str, data: str, identity: str = "", *, named: bool = True) -> str:
    """Write one event as WHATWG's event streams do. Unnamed, its name travels in the data, for clients with only `onmessage`.

    `data` is JSON text, so it has no line break and needs no escaping.
    """
    lines = f"id: {identity}\n" if identity else ""
    if named:
        return f"{lines}event: {name}\ndata: {data}\n\n"
    return f'{lines}data: {{"event":"{name}","data":{data}}}\n\n'


def message(name: str, data: str, identity: str = "") -> str:
    """Write one event as a WebSocket message: a JSON object of id, event and data."""
    head = f'"id":"{identity}",' if identity else ""
    return f'{{{head}"event":"{name}","data":{data}}}'


def identity(job_id: str, event: Event) -> str:
    """Give an event's id on the wire; an event that is not in the log has none."""
    return event.cursor.text(job_id) if event.number else ""
