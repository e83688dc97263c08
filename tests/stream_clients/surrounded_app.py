"""The shop as a part of another application: mounted under a path, behind middlewares, and beside a second lane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from sidelane import Sidelane
from sidelane.web import Jobs, Responder
from tests.system.api import app as shop_app
from tests.system.shop import FOLDER
from tests.system.shop import lane as shop

ORIGIN = "https://app.example"

letters = Sidelane(store=f"sqlite:///{FOLDER / 'letters.db'}")


@letters.task
async def spell(word: str) -> AsyncIterator[str]:
    for letter in word:
        yield letter


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with shop.open(), letters.open(workers=1):
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/shop", shop_app)
app.add_middleware(GZipMiddleware, minimum_size=1)
app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], expose_headers=["Location", "Retry-After"])

jobs = Jobs(letters, user=None)
app.include_router(jobs.router, prefix="/letter-jobs")


@app.post("/letters", responses=jobs.responses(spell))
async def spellings(word: str, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
    return await respond(spell.call(word))
