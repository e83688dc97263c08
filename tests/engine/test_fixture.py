"""The pytest fixture that users' own tests take."""

from sidelane import Sidelane
from sidelane.testing import fixture
from sidelane.testing.harness import Harness

own = Sidelane(settings={"lease_duration": 2.0})


@own.task
async def double(number: int) -> int:
    return 2 * number


t = fixture.testing_fixture(own)


async def test_a_lane_is_opened_for_a_test(t: Harness) -> None:
    assert await t.run(double.call(21)) == 42
    assert len(await t.submitted(double)) == 1


async def test_each_test_finds_it_empty(t: Harness) -> None:
    assert await t.submitted(double) == []
