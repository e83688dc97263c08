"""Media types: the declared type compared with the first bytes."""

import pytest

from sidelane import WrongFileType
from sidelane.files.media_types import checked_type

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
PNG = b"\x89PNG\r\n\x1a\n\x00\x00"
ZIP = b"PK\x03\x04\x14\x00"
MP3 = b"\xff\xfb\x90\x00"


@pytest.mark.parametrize(
    ("head", "said", "wanted", "is_taken_as"),
    [
        (WAV, "audio/x-wav", ["audio/*"], "audio/x-wav"),
        (WAV, "Audio/WAV; codecs=1", ["audio/wav"], "audio/wav"),
        (WAV, None, ["audio/*"], "audio/wav"),
        (WAV, "application/octet-stream", ["image/*", "audio/wave"], "audio/wave"),
        (b"\x00\x00\x00\x18ftypM4A ", None, ["audio/*"], "audio/mp4"),
        (b"garbage before the sync", "audio/mpeg", ["audio/mpeg"], "audio/mpeg"),
        (b"a,b\n1,2\n", "text/csv", ["text/*"], "text/csv"),
        (ZIP, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ["*/*"],
         "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (b"", "text/plain", ["text/plain"], "text/plain"),
        (PNG, None, [], "image/png"),
        (b"what", None, [], "application/octet-stream"),
        (PNG, "audio/wav", [], "audio/wav"),  # nothing is wanted, so nothing is checked
    ],
)  # fmt: skip
def test_declared_type_is_accepted_if_the_first_bytes_match(
    head: bytes, said: str | None, wanted: list[str], is_taken_as: str
) -> None:
    assert checked_type(head, said, wanted) == is_taken_as


@pytest.mark.parametrize(
    ("head", "said", "wanted"),
    [
        (PNG, "audio/wav", ["audio/*"]),
        (b"", "audio/wav", ["audio/*"]),
        (PNG, "text/plain", ["text/*"]),
        (PNG, None, ["audio/*"]),
        (WAV, "audio/mpeg", ["audio/*"]),
        (b"<html>", "image/png", ["image/*"]),
        (b"<html>", None, ["text/html"]),
        (MP3, "audio/mpeg", ["audio/wav"]),
        (b"x", "audio", ["audio/*"]),
    ],
)
def test_type_that_does_not_match_is_refused(head: bytes, said: str | None, wanted: list[str]) -> None:
    with pytest.raises(WrongFileType):
        checked_type(head, said, wanted)
