"""Writes and loads descriptions of services."""

from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.ops.description import Description, load_description


def load(folder: Path, text: str, file: str = "sidelane.toml") -> Description:
    (folder / file).write_text(text, "utf-8")
    return load_description(folder)


def error_of(folder: Path, text: str, file: str = "sidelane.toml") -> str:
    """Return the message of the error, without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, file)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")
