"""Files over HTTP: what a link of our own allows, to get a file that lies in a folder or to put one there."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from sidelane.files.files import Files
from sidelane.files.references import content_path
from sidelane.model.errors import FileTooLarge, UnknownFile
from sidelane.web import openapi
from sidelane.web.problems import ProblemRoute

HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}
"""What others have put here is downloaded, never shown as a page of ours."""


def file_routes(files: Callable[[], Files]) -> APIRouter:
    """Make the routes of links to files. Only those that lie in a folder need them: buckets sign links of their own."""
    router = APIRouter(route_class=ProblemRoute, tags=["files"])
    gone = {404: "There is no such link, it has expired, or its file is gone."}

    @router.head("/{token}", include_in_schema=False)
    @router.get("/{token}", response_class=FileResponse, responses=openapi.problems(gone))
    async def download(token: str) -> Response:
        """The file, or parts of it (`Range`)."""
        grant = await files().grant("GET", token)
        path = files().objects.local(content_path(grant.file))
        if path is None:
            raise UnknownFile("Files do not lie in a folder here.")
        return FileResponse(path, media_type=grant.type, filename=grant.name, headers=HARMLESS)

    @router.put("/{token}", status_code=204, responses=openapi.problems({**gone, 413: "The file is over its limit."}))
    async def upload(request: Request, token: str) -> Response:
        """Put the file that the link was made for; the body is its content."""
        grant = await files().grant("PUT", token)
        length = request.headers.get("content-length", "")
        if grant.max_bytes is not None and length.isdecimal() and int(length) > grant.max_bytes:
            raise FileTooLarge(f"The file has more than {grant.max_bytes:,} bytes, which is the limit here.")
        await files().receive(grant, aiter(request.stream()))
        return Response(status_code=204)

    return router
