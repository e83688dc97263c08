"""Largest upload that the source of an application declares."""

import importlib
from pathlib import Path
from uuid import uuid4

import pytest

from sidelane.ops.deploy.uploads import UploadLimit, largest_upload
from sidelane.web.routes import AppRoute


def limit(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> UploadLimit | None:
    name = f"uploads_{uuid4().hex}"
    (folder / f"{name}.py").write_text(
        f"class Limits:\n    AUDIO = 7\nMIB = 2**20\n{source}\nasync def endpoint(): ...\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module(name)
    route = AppRoute("/uploads", frozenset({"POST"}), "other", module.endpoint, uploads=True)
    return largest_upload([route], folder)


@pytest.mark.parametrize(
    ("expression", "size"),
    [
        ("5_000_000", 5_000_000), ("20 * MIB", 20 * 2**20), ("3 * 1024 * 1024", 3 * 2**20), ("1 << 20", 2**20),
        ("Limits.AUDIO", 7), ("MIB + 1", 2**20 + 1), ("10**9", 10**9),
    ],
)  # fmt: skip
def test_constant_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str, size: int) -> None:
    found = limit(tmp_path, monkeypatch, f"async def f(files): await files.save(1, max_bytes={expression})")
    assert found is not None
    assert found.size == size
    assert found.source.endswith(".py, line 4")


@pytest.mark.parametrize("expression", ["None", "files.limit", "9**9**9", "limit()", "True", "-1", "'1'", "unknown"])
def test_anything_else_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    source = f"async def f(files): await files.upload_url(max_bytes={expression})"
    assert limit(tmp_path, monkeypatch, source) is None


def test_largest_of_several_counts_and_other_functions_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "async def f(files): (files.save(1, max_bytes=1), files.upload_url(max_bytes=2), files.other(max_bytes=3))"
    found = limit(tmp_path, monkeypatch, source)
    assert found is not None
    assert found.size == 2
