"""Types of files: what the first bytes say, what is said of them, and what is wanted."""

from collections.abc import Sequence

from sidelane.model.errors import WrongFileType

ANYTHING = "application/octet-stream"

HEAD = 4096
"""As many of the first bytes as tell what a file is."""

_WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
_FLAC = ("audio/flac", "audio/x-flac")
_OGG = ("audio/ogg", "video/ogg", "application/ogg", "audio/opus", "audio/vorbis")
_AIFF = ("audio/aiff", "audio/x-aiff")
_MP3 = ("audio/mpeg", "audio/mp3")
_MP4 = (
    "video/mp4", "audio/mp4", "audio/m4a", "audio/x-m4a", "video/quicktime", "video/x-m4v", "video/3gpp", "image/heic",
    "image/avif",
)  # fmt: skip
_MATROSKA = ("video/webm", "audio/webm", "video/x-matroska", "audio/x-matroska")
_GZIP = ("application/gzip", "application/x-gzip")
_TIFF = ("image/tiff",)

_STARTS: Sequence[tuple[int, bytes, Sequence[str]]] = (
    (8, b"WAVE", _WAV),
    (8, b"WEBP", ("image/webp",)),
    (8, b"AVI ", ("video/x-msvideo", "video/avi")),
    (8, b"AIF", _AIFF),
    (4, b"ftyp", _MP4),
    (0, b"\x89PNG\r\n\x1a\n", ("image/png",)),
    (0, b"\xff\xd8\xff", ("image/jpeg", "image/jpg")),
    (0, b"GIF8", ("image/gif",)),
    (0, b"II*\x00", _TIFF),
    (0, b"MM\x00*", _TIFF),
    (0, b"%PDF-", ("application/pdf",)),
    (0, b"fLaC", _FLAC),
    (0, b"OggS", _OGG),
    (0, b"ID3", _MP3),
    (0, b"\xff\xfb", _MP3),
    (0, b"\xff\xf3", _MP3),
    (0, b"\xff\xf2", _MP3),
    (0, b"\xff\xf1", ("audio/aac", "audio/x-aac", "audio/aacp")),
    (0, b"\xff\xf9", ("audio/aac", "audio/x-aac", "audio/aacp")),
    (0, b"\x1aE\xdf\xa3", _MATROSKA),
    (0, b"\x1f\x8b", _GZIP),
    (0, b"PK\x03\x04", ("application/zip", "application/x-zip-compressed", "application/epub+zip")),
    (0, b"7z\xbc\xaf\x27\x1c", ("application/x-7z-compressed",)),
)
"""How files of a type begin: the place, the bytes, and what the type is called, its proper name first."""

_KNOWN = frozenset(name for _, _, names in _STARTS for name in names)

_ALWAYS = _KNOWN - {*_MP3, "application/pdf"}
"""Types whose files never begin otherwise: what says it is one and does not is something else. Others may begin with anything."""


def found_types(head: bytes) -> Sequence[str]:
    """Say which types the first bytes of a file may be; none where they are not known."""
    for place, start, names in _STARTS:
        if head[place : place + len(start)] == start:
            return names
    return ()


def checked_type(head: bytes, declared: str | None, wanted: Sequence[str]) -> str:
    """Decide on a file's type, by what is said of it and by its first bytes. `wanted` are types, or `audio/*`; none: any.

    Raises `WrongFileType` where it is not wanted, or not what it says it is.
    """
    said = (declared or "").partition(";")[0].strip().lower()
    found = found_types(head)
    if not wanted:
        return said or (found[0] if found else ANYTHING)
    if said in ("", ANYTHING):
        said = next((name for name in found if _is_wanted(name, wanted)), found[0] if found else ANYTHING)
    if not _is_wanted(said, wanted):
        raise WrongFileType(f"The file is {said}; what is taken here is {', '.join(wanted)}.")
    if _fits(said, found):
        return said
    really = f"looks like {found[0]}" if found else "is none"
    raise WrongFileType(f"The file says it is {said}, and by its first bytes {really}.")


def _is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return any(
        pattern in ("*/*", name) or (pattern.endswith("/*") and name.startswith(pattern[:-1])) for pattern in wanted
    )


def _fits(said: str, found: Sequence[str]) -> bool:
    if not found:
        return said not in _ALWAYS
    # an application's own format may be made of another: a .docx is an archive
    return said in found or (said not in _KNOWN and said.startswith("application/"))
