"""Reading files: as a stream, as a path, with an event loop and without, in all kinds of tasks."""

import sys
import wave
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from sidelane import File, Sidelane, UnknownFile
from sidelane.files.files import Files
from sidelane.model.errors import UnboundFile

CONTENT = bytes(range(256)) * 40_000  # more than is read at one go


async def test_file_is_read_in_chunks_and_from_any_position(files: Files) -> None:
    file = await files.save(CONTENT)
    found = [chunk async for chunk in file.chunks()]
    assert len(found) > 1
    assert b"".join(found) == CONTENT
    async with file.open() as opened:
        assert opened.size == len(CONTENT)
        assert await opened.read(3) == CONTENT[:3]
        assert await opened.read(5_000_000) == CONTENT[3:5_000_003]
        assert opened.tell() == 5_000_003
        opened.seek(len(CONTENT) - 2)
        assert (await opened.read(), await opened.read()) == (CONTENT[-2:], b"")
        opened.seek(256)
        assert await opened.read(4) == CONTENT[:4]


async def test_path_is_a_local_file_with_its_name_that_is_deleted_after_use(files: Files) -> None:
    file = await files.save(CONTENT, name="voice.wav")
    async with file.path() as path:
        assert path.read_bytes() == CONTENT
        if files.objects.folder is None:
            assert path.name == "voice.wav"
        else:
            assert path.is_relative_to(files.objects.folder)  # itself, and no copy
    assert path.exists() == (files.objects.folder is not None)


async def test_too_long_name_is_shortened(files: Files) -> None:
    file = await files.save(CONTENT, name=f"{'말' * 200}.wav")
    async with file.path() as path:
        assert path.read_bytes() == CONTENT
        if files.objects.folder is None:
            assert path.name == f"{'말' * 83}.wav"


async def test_missing_file_raises_unknown_file(files: Files) -> None:
    file = await files.save(b"x")
    gone = file.model_copy(update={"id": "sidelane-file:" + "0" * 32}).bind_to(files)
    with pytest.raises(UnknownFile):
        await gone.read()
    with pytest.raises(UnknownFile):
        async with gone.path():
            pass
    with pytest.raises(UnknownFile), gone.open():
        pass
    with pytest.raises(UnknownFile), gone.path():
        pass


async def test_file_from_elsewhere_is_bound_to_its_lane(files: Files) -> None:
    file = await files.save(b"hello")
    other = TypeAdapter(File).validate_json(file.model_dump_json())
    assert other == file
    with pytest.raises(UnboundFile, match=r"lane\.files\.bind"):
        await other.read()
    assert await files.bind(other).read() == b"hello"
    async with files.open(other) as opened:
        assert await opened.read() == b"hello"


@pytest.mark.parametrize(
    "broken",
    [
        {"file": "../../etc/passwd"},
        {"file": "sidelane-file:" + "0" * 31 + "/"},
        {"file": "sidelane-file:" + "0" * 32 + "\n"},
        {"bytes": -1},
        {"sha256": "x"},
        {"name": "x" * 256},
    ],
)
def test_invalid_file_is_refused(broken: dict[str, object]) -> None:
    whole = {"file": "sidelane-file:" + "0" * 32, "name": "a", "type": "b/c", "bytes": 1, "sha256": "0" * 64}
    assert TypeAdapter(File).validate_python(whole).size == 1
    with pytest.raises(ValueError, match="File"):
        TypeAdapter(File).validate_python(whole | broken)


class Answer(BaseModel):
    takes: list[File]
    note: str = ""


async def test_files_are_bound_anywhere_in_arguments_and_results(lane: Sidelane) -> None:
    @lane.task
    async def join(answers: dict[str, Answer], last: File | None = None) -> Answer:
        parts = [await file.read() for answer in answers.values() for file in answer.takes]
        parts.append(await last.read() if last else b"")
        return Answer(takes=[await lane.files.save(b"".join(parts), name="all.txt")])

    async with lane.open(workers=1):
        one, two, three = [await lane.files.save(text) for text in (b"a", b"b", b"c")]
        job = await join.submit({"x": Answer(takes=[one]), "y": Answer(takes=[two])}, last=three)
        (whole,) = (await job.result(timeout=20)).takes
        assert await whole.read() == b"abc"
        (again,) = (await join.job(job.id).result(timeout=1)).takes
        assert await again.read() == b"abc"


@pytest.mark.parametrize("name", ["on_the_loop", "in_a_thread", "in_a_process"])
@pytest.mark.usefixtures("make_lane")
async def test_every_kind_of_task_opens_files_and_paths(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        tone.writeframes(bytes(16_000))
    monkeypatch.delitem(sys.modules, "tests.files.tasks", raising=False)
    lane: Sidelane = import_module("tests.files.tasks").lane  # made of the environment, as in the child process
    async with lane.open(workers=1):
        file = await lane.files.save(tmp_path / "tone.wav", types=("audio/wav",))
        job = await lane.submit(lane.registry.tasks[name].call(file))
        assert await job.result(timeout=40) == [8000, file.size, file.size]
