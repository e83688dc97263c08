"""Process that writes to the store as fast as it can, in rounds: `python -m tests.system.writer <url> <name> <seconds>`.

Each line on standard input starts a round; each round ends with a line of JSON: how many writes, and the longest wait.
"""

import asyncio
import json
import sys
import time

from sidelane.model.job import JobSpec
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store


async def write(store: Store, name: str, seconds: float) -> dict[str, float]:
    """Submit jobs one after the other."""
    count, longest, end = 0, 0.0, time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        await store.submit([JobSpec(id=f"{name}-{began}", task="none")])
        longest = max(longest, time.monotonic() - began)
        count += 1
    return {"writes": count, "longest": longest}


async def main(url: str, name: str, seconds: float) -> None:
    store = await open_store(url)
    print(json.dumps("ready"), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await write(store, name, seconds)), flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
