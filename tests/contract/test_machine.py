"""SQLite behaves like the reference store under random calls."""

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from sidelane.conformance.model.state_machine import StoreMachine
from sidelane.conformance.stores.fixtures import UrlStoreFactory

settings.register_profile("ci", max_examples=60, stateful_step_count=40)
settings.register_profile("long", max_examples=3000, stateful_step_count=60)
profile = settings(
    settings.get_profile(os.environ.get("SIDELANE_MACHINE", "ci")),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class InMemory(StoreMachine):
    """One connection, in memory."""

    def new_factory(self) -> UrlStoreFactory:
        return UrlStoreFactory("sqlite://:memory:")


class InAFile(StoreMachine):
    """Three connections to one file, used in turn."""

    connections = 3

    def new_factory(self) -> UrlStoreFactory:
        self.folder = tempfile.mkdtemp()
        return UrlStoreFactory(f"sqlite:///{self.folder}/jobs.db")

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


TestInMemory = InMemory.TestCase
TestInMemory.settings = profile

TestInAFile = pytest.mark.timeout(900)(pytest.mark.long(InAFile.TestCase))  # a busy disk makes its many commits slow
TestInAFile.settings = settings(profile, max_examples=max(profile.max_examples // 4, 1))
