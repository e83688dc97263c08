"""remember: keep a value under a name, or give the one that is already there."""

import apsw

from sidelane.stores.sqlite.sql import scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet

_SQL = statements(__file__)
_KEEP = _SQL["keep"]
_KEPT = _SQL["kept"]


def remember(connection: apsw.Connection, _now: float, _touched: ChangeSet, name: str, value: str) -> str:
    connection.execute(_KEEP, (name, value))
    return str(scalar(connection, _KEPT, name))
