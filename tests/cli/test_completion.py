"""Shell completion of commands and values."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "sidelane.cli"]


def run_command(*arguments: str, **env: str) -> list[str]:
    """Run the command, and return the words that it prints."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True, env={**os.environ, **env})
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_show_completion_prints_a_script_for_the_shell(shell: str) -> None:
    script = run_command("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "sidelane" in script
    assert any(f"_SIDELANE_COMPLETE=complete_{shell}" in word for word in script)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sidelane ", {"jobs", "dead", "worker", "config"}),
        ("sidelane jobs ", {"list", "show", "watch", "cancel", "requeue"}),
        ("sidelane jobs list --state wait", {"waiting-for-limit"}),
        ("sidelane jobs --state retr", {"retrying"}),
    ],
)
def test_commands_and_states_are_completed(words: str, expected: set[str]) -> None:
    current = str(len(words.split(" ")) - 1)
    completed = run_command(_SIDELANE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=current)
    assert expected <= set(completed)
