"""Assets: the scripts and style sheets of pages, read and compressed once. Their URLs change with their content."""

import gzip
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

from fastapi import Request, Response

NAMES: Final = (
    "charts.js", "dashboard.css", "dashboard.js", "job.js", "htmx.min.js", "uplot.min.js", "uplot.min.css",
)  # fmt: skip

KEPT: Final = "public, max-age=31536000, immutable"
"""The content of a URL with a version never changes."""

REVALIDATED: Final = "no-cache"
"""For any other version, e.g. of a page that another process with a newer release has rendered."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is and compressed by gzip, with the version that its URL bears."""

    content: bytes
    compressed: bytes
    media_type: str | None
    version: str


@cache
def assets() -> Mapping[str, Asset]:
    """Return the assets by name."""
    return {name: _read(name) for name in NAMES}


def asset_url(name: str) -> str:
    """Return the URL of an asset, relative to the front page."""
    return f"static/{name}?v={assets()[name].version}"


async def serve_asset(request: Request, name: str) -> Response:
    """Return a file of the dashboard."""
    asset = assets().get(name)
    if asset is None:
        return Response(status_code=404)
    known = request.query_params.get("v") == asset.version
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": KEPT if known else REVALIDATED,
        "Vary": "Accept-Encoding",
    }
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.content, media_type=asset.media_type, headers=headers)
    return Response(asset.compressed, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"})


def _read(name: str) -> Asset:
    content = files("sidelane.web.dashboard").joinpath("static", name).read_bytes()
    version = sha256(content).hexdigest()[:12]
    return Asset(content, gzip.compress(content), mimetypes.guess_type(name)[0], version)
