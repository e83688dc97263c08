"""A file as tasks and their callers know it: a value that stands for bytes which are kept elsewhere."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sidelane.data.reading import LocalCopy, Opening
from sidelane.model.errors import UnboundFile

MARK = "sidelane-file:"
"""What the id of every file begins with, so that it is found in any text."""

ID = re.compile(MARK + r"[0-9a-f]{32}")

LONGEST_NAME = 255
LONGEST_TYPE = 127
"""Characters."""

CONTEXT = "files"
"""Where the validation of a file finds what opens it."""


class Keeping(Protocol):
    """What a file asks of where it is kept."""

    def opening(self, file: "File") -> Opening: ...
    def local_copy(self, file: "File") -> LocalCopy: ...
    async def url(self, file: "File", *, expires: float) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file that a lane keeps. A task takes one as an argument, or gives one as its result: `audio: File`.

    Made by `lane.files.save(…)`. In JSON it is `{"file": id, "name", "type", "bytes", "sha256"}`; whoever knows its id, which
    cannot be guessed, may have it opened. Its methods raise `UnboundFile` where it came from elsewhere than the lane
    (`lane.files.bind(file)`), `UnknownFile`, `FilesUnavailable`.
    """

    id: str
    name: str
    type: str
    size: int
    sha256: str
    _keeping: Keeping | None = field(default=None, repr=False, compare=False)

    async def read(self) -> bytes:
        """Read all of it."""
        async with self.open() as opened:
            return await opened.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read it piece by piece, in constant memory."""
        async with self.open() as opened:
            while chunk := await opened.read(opened.piece):
                yield chunk

    def open(self) -> Opening:
        """Open it for reading: `async with file.open() as opened: await opened.read(100)`.

        In tasks without an event loop, `with file.open() as opened:` gives an ordinary binary file.
        """
        return self._bound().opening(self)

    def path(self) -> LocalCopy:
        """Have it as a local file, for tools that need one: `async with file.path() as path:`, or `with` without an event loop.

        What lies in a folder is there itself, and must not be written to; else it is a copy, which is removed after the block.
        """
        return self._bound().local_copy(self)

    async def url(self, expires: float = 600.0) -> str:
        """Make a link that downloads it, for `expires` seconds, a week at most."""
        return await self._bound().url(self, expires=expires)

    def bound(self, keeping: Keeping | None) -> Self:
        """Give this file as one that can be opened."""
        return replace(self, _keeping=keeping)

    def _bound(self) -> Keeping:
        if self._keeping is None:
            raise UnboundFile(
                f"File {self.name!r} came from elsewhere than its lane: `lane.files.bind(file)` gives one that can be opened."
            )
        return self._keeping

    def __deepcopy__(self, memo: object) -> Self:
        return self  # it never changes, and where it is kept is not to be copied with it

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        read = core_schema.with_info_after_validator_function(_read, _JSON)
        return core_schema.json_or_python_schema(
            json_schema=read,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), read]),
            serialization=core_schema.plain_serializer_function_ser_schema(_written, return_schema=_JSON),
        )


def _text(longest: int, pattern: str | None = None) -> core_schema.TypedDictField:
    return core_schema.typed_dict_field(core_schema.str_schema(max_length=longest, pattern=pattern))


_JSON = core_schema.typed_dict_schema(
    {
        "file": _text(len(MARK) + 32, f"^{ID.pattern}$"),
        "name": _text(LONGEST_NAME),
        "type": _text(LONGEST_TYPE),
        "bytes": core_schema.typed_dict_field(core_schema.int_schema(ge=0)),
        "sha256": _text(64, "^[0-9a-f]{64}$"),
    },
    cls_name="File",
)


def _read(value: Mapping[str, Any], info: core_schema.ValidationInfo[Any]) -> File:
    return File(
        id=value["file"],
        name=value["name"],
        type=value["type"],
        size=value["bytes"],
        sha256=value["sha256"],
        _keeping=(info.context or {}).get(CONTEXT),
    )


def _written(file: File) -> dict[str, Any]:
    return {"file": file.id, "name": file.name, "type": file.type, "bytes": file.size, "sha256": file.sha256}
