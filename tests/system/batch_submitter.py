"""Process that submits a batch: `python -m tests.system.batch_submitter <batch> <jobs>`; again, it submits what is missing."""

import asyncio
import sys

from sidelane import PREVIOUS_RESULT
from tests.system.shop import add, lane, tally


async def main(batch: str, jobs: int) -> None:
    calls = [add.options(id=f"{batch}-{number}").call(number, 1) for number in range(jobs)]
    async with lane.open():
        await lane.submit_many(calls, then=tally.call(PREVIOUS_RESULT), id=batch)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
