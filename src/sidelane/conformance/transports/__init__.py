"""The transport contract as tests: every sentence here must be true of every transport.

from sidelane.conformance.transports.suite import TransportConformance

class TestMine(TransportConformance):
    @pytest.fixture
    def place(self) -> TransportFactory: ...

If a sentence must know whether a message was acknowledged, it closes the receiver and opens it again.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
