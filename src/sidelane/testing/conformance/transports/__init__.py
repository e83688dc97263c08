"""The transport contract as tests: every sentence here must be true of every transport.

from sidelane.testing.conformance.transports.suite import TransportConformance

class TestMine(TransportConformance):
    @pytest.fixture
    def place(self) -> TransportPlace: ...

Where a sentence must know whether a message was acknowledged, it closes the way in and opens it again: what was not comes again.
"""
