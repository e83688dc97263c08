"""Links for the files of an offer: those outside cannot open what keeps them."""

from typing import Any

from pydantic import ValidationError

from sidelane.files.file import File
from sidelane.files.files import Files
from sidelane.files.references import MAX_URL_LIFETIME


async def with_file_urls(files: Files, value: Any, seconds: float) -> Any:
    """Give JSON with a link, as `url`, in each file that it names. Raises `FilesUnavailable`, `ConfigurationError`.

    It is good for so many seconds, a week at most. Files in a folder that has no address for others get none.
    """
    if isinstance(value, list):
        return [await with_file_urls(files, each, seconds) for each in value]
    if not isinstance(value, dict):
        return value
    file = _file(value)
    if file is None:
        return {name: await with_file_urls(files, each, seconds) for name, each in value.items()}
    link = await files.url(file, expires=min(max(seconds, 1.0), MAX_URL_LIFETIME))
    return {**value, "url": link} if "://" in link else value


def _file(value: dict[str, Any]) -> File | None:
    if "file" not in value:
        return None
    try:
        return File.model_validate(value)
    except ValidationError:  # it is something else, which has a member of that name
        return None
