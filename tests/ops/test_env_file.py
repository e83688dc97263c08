"""Files of environment variables."""

from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.ops.env_file import read_env_file


def read(folder: Path, text: str) -> dict[str, str]:
    (folder / ".env").write_text(text, "utf-8")
    return read_env_file(folder / ".env")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A = 1 ", "1"),
        ("A=", ""),
        ("A=two words # a comment", "two words"),
        ("A=https://host/path#part", "https://host/path#part"),
        ("A=it's", "it's"),
        ("A='$x \\n # no comment' # a comment", "$x \\n # no comment"),
        ('A="a\\n\\"b\\" \\\\ # $x"', 'a\n"b" \\ # $x'),
        ("A=#nothing", ""),
        ("A=k=v", "k=v"),
        ("A=1\r", "1"),
    ],
)
def test_values_are_read(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, f"# a comment\n\n{line}\nB=2\n") == {"A": value, "B": "2"}


@pytest.mark.parametrize("line", ["hunter2", "2A=hunter2", "A='hunter2", 'A="hunter2', "A='hunter2' x", "A-B=hunter2"])
def test_invalid_line_is_named_but_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\.env, line 3, is not valid: write NAME=value") as caught:
        read(tmp_path, f"A=1\n\n{line}\n")
    assert "hunter2" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read: No such file or directory"):
        read_env_file(tmp_path / ".env")
