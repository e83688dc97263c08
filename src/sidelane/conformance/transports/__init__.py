"""Conformance suite of transports: the transport contract as tests.

from sidelane.conformance.transports.suite import TransportConformance

class TestMine(TransportConformance):
    @pytest.fixture
    def factory(self) -> TransportFactory: ...

A test that must know whether a message was acknowledged closes the receiver and opens it again.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
