"""Lane whose webhook receivers are on this machine."""

from sidelane import Sidelane

lane = Sidelane(
    settings={"allow_private_callbacks": True}, secrets={"be": "whsec_dGhlIHNlY3JldCBvZiB0aGVzZSB0ZXN0cw=="}
)


@lane.task
async def add(a: int, b: int) -> int:
    """Add two numbers, which takes no time."""
    return a + b
