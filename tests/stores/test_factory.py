"""Opening a store by URL, and the errors of invalid URLs."""

import sys
from pathlib import Path

import pytest

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.model.job import JobSpec
from sidelane.stores.factory import open_store


async def test_three_slashes_mean_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite:///jobs.db")
    await store.close()
    assert (tmp_path / "jobs.db").exists()


async def test_four_slashes_mean_an_absolute_path(tmp_path: Path) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/jobs.db")
    await store.close()
    assert (tmp_path / "jobs.db").exists()


async def test_an_in_memory_store_creates_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await open_store("sqlite://:memory:")
    await store.submit([JobSpec(id="a", task="t")])
    await store.close()
    assert not (tmp_path / ":memory:").exists()


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@host/db", "jobs.db", "", "sqlite:", "sqlite://", "sqlite:///", "sqlite://jobs.db"]
)
async def test_an_unknown_url_is_an_error_that_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIDELANE_STORE") as raised:
        await open_store(url)
    assert "sqlite:///" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_redis_without_its_driver_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sidelane.stores.redis")]:
        monkeypatch.delitem(sys.modules, name)
    for name in "redis", "redis.asyncio", "redis.asyncio.connection":
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"sidelane\[redis\]") as raised:
        await open_store("redis://:secret@localhost")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://:secret@h:port/0", "redis://:secret@h/?name=not+a+name", "redis://:secret@h/?what=1"]
)
async def test_an_invalid_redis_url_names_the_setting(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SIDELANE_STORE") as raised:
        await open_store(url)
    assert "secret" not in str(raised.value)
