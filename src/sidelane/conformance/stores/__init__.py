"""Conformance suite of stores: the store contract as tests.

from sidelane.conformance.stores.suite import Conformance

class TestMine(Conformance):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> StoreFactory: ...
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
