"""Process that submits jobs until it is killed or receives a line: `python -m tests.system.producer <name>`."""

import asyncio
import random
import sys

from tests.system.shop import deliver, lane, note

INTERVAL = 0.04


async def main(name: str) -> None:
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    number, rng = 0, random.Random(name)
    async with lane.open():
        while not stop.done():
            number += 1
            job = f"{name}-{number}"
            note("submit", job=job, number=number)
            await deliver.options(id=job).submit(rng.uniform(0.0, 0.8), number)
            note("ack", job=job)
            await asyncio.sleep(INTERVAL)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
