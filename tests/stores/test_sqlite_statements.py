"""SQL files: each module uses every statement of its SQL file and no other, and each statement is valid for the schema."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sidelane.stores.sqlite
from sidelane.stores.clock import ManualClock
from sidelane.stores.sqlite.sql import statements
from sidelane.stores.sqlite.store import SqliteStore

FOLDER = Path(sidelane.stores.sqlite.__file__).parent
FILES = [path for path in sorted(FOLDER.rglob("*.sql")) if path.name != "schema.sql"]


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(":memory:", ManualClock())
    yield store
    await store.close()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_module_uses_exactly_the_statements_of_its_file(path: Path) -> None:
    used = set(re.findall(r"(?<!\.)\bSQL\.(\w+)", path.with_suffix(".py").read_text(encoding="utf-8")))
    assert used == set(re.findall(r"^-- :(\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_statement_is_valid(store: SqliteStore, path: Path) -> None:
    for name, sql in vars(statements(str(path))).items():
        if not name.startswith("_"):
            numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
            values = (None,) * (max(numbers) if numbers else sql.count("?"))
            store._writer._connection.execute(f"EXPLAIN {sql}", values)


def test_a_missing_statement_is_an_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"claim\.sql has no statement 'missing'"):
        _ = statements(str(FOLDER / "verbs" / "claim.py")).missing
