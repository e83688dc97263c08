"""Routes of signed file URLs: download and upload of files that are stored in a folder."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from sidelane.files.files import Files
from sidelane.files.references import content_path
from sidelane.model.errors import FileTooLarge, UnknownFile
from sidelane.web import openapi
from sidelane.web.problems import ProblemRoute

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}
"""Uploaded content is untrusted: browsers must download it, never render it as a page of this site."""

MAX_RANGE = 256
"""Characters of a `Range` field that is honoured. Starlette before 0.49.1 takes quadratic time to read a long one."""


def file_router(files: Callable[[], Files]) -> APIRouter:
    """Return the router of signed URLs. Only folder storage needs it; S3 and GCS sign their URLs themselves."""
    router = APIRouter(route_class=ProblemRoute, tags=["files"])
    not_found = {404: "There is no such link, it has expired, or its file was removed."}

    @router.head("/{token}", include_in_schema=False)
    @router.get("/{token}", response_class=FileResponse, responses=openapi.problems(not_found, alone=True))
    async def download(request: Request, token: str) -> Response:
        """Download the file, or parts of it (`Range`)."""
        grant = await files().grant("GET", token)
        path = files().objects.local(content_path(grant.file))
        if path is None:
            raise UnknownFile("Files are not stored in a folder here.")
        if len(request.headers.get("range", "")) > MAX_RANGE:  # a server may ignore it
            request.scope["headers"] = [each for each in request.scope["headers"] if each[0] != b"range"]
        return FileResponse(path, media_type=grant.type, filename=grant.name, headers=SECURITY_HEADERS)

    too_large = {**not_found, 413: "The file is too large."}

    @router.put("/{token}", status_code=204, responses=openapi.problems(too_large, alone=True))
    async def upload(request: Request, token: str) -> Response:
        """Upload the file that the link was made for. The body is its content."""
        grant = await files().grant("PUT", token)
        length = request.headers.get("content-length", "")
        if grant.max_bytes is not None and length.isdecimal() and int(length) > grant.max_bytes:
            raise FileTooLarge(f"The file has more than {grant.max_bytes:,} bytes, which is the limit here.")
        await files().receive(grant, aiter(request.stream()))
        return Response(status_code=204)

    return router
