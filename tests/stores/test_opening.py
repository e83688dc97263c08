"""Opening: a URL names a store, or the error says what to write instead."""

from pathlib import Path

import pytest

from sidelane.model.errors import ConfigurationError
from sidelane.model.job import JobSpec
from sidelane.stores.opening import open_store


async def test_three_slashes_name_a_file_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///jobs.db")
    await store.close()
    assert (tmp_path / "jobs.db").exists()


async def test_four_slashes_name_a_file_by_its_whole_path(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/jobs.db")
    await store.close()
    assert (tmp_path / "jobs.db").exists()


async def test_a_store_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite://:memory:")
    await store.submit([JobSpec(id="a", task="t")])
    await store.close()
    assert not (tmp_path / ":memory:").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@host/db", "jobs.db", "", "sqlite:", "sqlite://", "sqlite:///", "sqlite://jobs.db"]
)
async def test_a_url_that_names_no_store_is_an_error_that_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIDELANE_STORE") as raised:
        await open_store(url)
    assert "sqlite:///" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://:secret@host:1/0", "unix:///run/redis.sock"])
async def test_redis_is_said_to_be_missing_in_this_version(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not available") as raised:
        await open_store(url)
    assert "secret" not in str(raised.value)
