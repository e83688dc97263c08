"""The pytest fixture for tests of applications."""

from sidelane import Sidelane
from sidelane.testing import fixture
from sidelane.testing.harness import Harness

own = Sidelane(settings={"lease_duration": 2.0})


@own.task
async def double(number: int) -> int:
    return 2 * number


t = fixture.testing_fixture(own)


async def test_the_fixture_opens_the_lane(t: Harness) -> None:
    assert await t.run(double.call(21)) == 42
    assert len(await t.submitted(double)) == 1


async def test_each_test_has_an_empty_store(t: Harness) -> None:
    assert await t.submitted(double) == []
