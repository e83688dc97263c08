"""The store contract as tests: every sentence here must be true of every store.

from sidelane.conformance.stores.suite import Conformance

class TestMine(Conformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> StoreFactory: ...
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
