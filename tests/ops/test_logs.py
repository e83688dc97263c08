"""`sidelane logs`: the last lines, and new ones across rotations."""

from pathlib import Path

import pytest

from sidelane.cli.output.log_lines import LogPrinter
from sidelane.model.errors import UnknownGroup
from sidelane.ops.log_files import last_lines
from sidelane.ops.logs import Follower, chosen_logs, tail
from sidelane.ops.state import StateDirectory


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "chat.log"


def test_last_lines_of_a_large_file_are_read_from_its_end(log: Path) -> None:
    with log.open("wb") as file:
        file.seek(10 * 2**30)  # 10 GiB without content
        file.write(b"\n" + b"".join(b"line %d\n" % number for number in range(100_000)))
    lines, size = last_lines(log, 3)
    assert lines == ["line 99997", "line 99998", "line 99999"]
    assert size == log.stat().st_size


@pytest.mark.parametrize(
    ("content", "count", "expected"),
    [
        (b"", 2, []),
        (b"a\nb\nc\n", 2, ["b", "c"]),
        (b"a\nb\nc", 2, ["b", "c"]),
        (b"a\n\n\n", 2, ["", ""]),
        (b"a\nb\n", 5, ["a", "b"]),
        (b"a\nb\n", 0, []),
        (b"\xff\xfe\n", 1, ["\ufffd\ufffd"]),
    ],
)
def test_last_lines(log: Path, content: bytes, count: int, expected: list[str]) -> None:
    log.write_bytes(content)
    assert last_lines(log, count)[0] == expected


def test_missing_file_has_no_lines(log: Path) -> None:
    assert last_lines(log, 3) == ([], 0)


def test_lines_before_the_start_are_left_out(log: Path) -> None:
    log.write_text("old\n")
    since = log.stat().st_size
    log.write_text("old\nnew\n")
    assert last_lines(log, 10, since=since)[0] == ["new"]


def test_very_long_line_is_cut(log: Path) -> None:
    log.write_text("x" * 1_000_000 + "\nend\n")
    long, end = last_lines(log, 2)[0]
    assert len(long) < 70_000
    assert long.endswith("… (1,000,000 bytes)")
    assert end == "end"


def test_file_before_the_rotation_fills_up_the_last_lines(log: Path) -> None:
    log.with_name("chat.log.1").write_text("1\n2\n3\n")
    log.write_text("4\n")
    assert tail(log, 3)[0] == ["2", "3", "4"]


def test_follower_reads_on_after_a_rotation(log: Path) -> None:
    log.write_text("before\n")
    follower = Follower("chat", log, log.stat().st_size)
    with log.open("a") as file:
        file.write("a\nhalf")
    assert list(follower.read()) == [("chat", "a")]
    with log.open("a") as file:
        file.write(" line\nlast\n")
    log.rename(log.with_name("chat.log.1"))
    assert list(follower.read()) == [("chat", "half line"), ("chat", "last")]
    log.write_text("new file\n")
    assert list(follower.read()) == [("chat", "new file")]
    follower.close()


def test_follower_reads_a_file_that_was_truncated_from_its_start(log: Path) -> None:
    log.write_text("a long first line\n")
    follower = Follower("chat", log)
    assert len(list(follower.read())) == 1
    log.write_text("new\n")
    assert [*follower.read(), *follower.read()] == [("chat", "new")]
    follower.close()


def test_follower_waits_for_a_file_that_is_not_there_yet(log: Path) -> None:
    follower = Follower("chat", log)
    assert list(follower.read()) == []
    log.write_text("first\n")
    assert list(follower.read()) == [("chat", "first")]
    follower.close()


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    LogPrinter(["chat", "general"])("chat", "\x1b]0;title\x07 red \x1b[31m\ttab")
    assert capsys.readouterr().out == "chat    │ \\x1b]0;title\\x07 red \\x1b[31m\ttab\n"


def test_prefixes_are_coloured_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    show = LogPrinter(["chat", "general"])
    show("chat", "a")
    show("general", "b")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("\x1b[36mchat")
    assert second.startswith("\x1b[35mgeneral")


def test_unknown_group_is_refused(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.logs.mkdir()
    state.log("chat").touch()
    state.supervisor_log.touch()
    assert list(chosen_logs(state, ())) == ["chat"]
    assert list(chosen_logs(state, ["supervisord"])) == ["supervisord"]
    with pytest.raises(UnknownGroup, match=r"no group 'chta'. Did you mean 'chat'\?"):
        chosen_logs(state, ["chta"])
