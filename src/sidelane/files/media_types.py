"""Media types of files: detected by their first bytes, and compared with the declared and the accepted types."""

from collections.abc import Sequence

from sidelane.model.errors import WrongFileType

OCTET_STREAM = "application/octet-stream"

HEAD_SIZE = 4096
"""Number of first bytes of a file that determine its type."""

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

_SIGNATURES: Sequence[tuple[int, bytes, Sequence[str]]] = (
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
"""Signatures of types: the offset, the bytes, and the names of the type, the usual one first."""

_KNOWN = frozenset(name for _, _, names in _SIGNATURES for name in names)

_ALWAYS = _KNOWN - {*_MP3, "application/pdf"}
"""Types whose files always have the signature. Files of other types may begin with anything."""


def detected_types(head: bytes) -> Sequence[str]:
    """Return the types that match the first bytes of a file, or an empty collection if no type matches."""
    for offset, signature, names in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return names
    return ()


def checked_type(head: bytes, declared: str | None, accepted: Sequence[str]) -> str:
    """Return a file's type, by its declared type and its first bytes.

    `accepted` are types or patterns like `audio/*`; if there are none, every type is accepted.
    Raises `WrongFileType` if the type is not accepted, or does not match the first bytes.
    """
    declared_type = (declared or "").partition(";")[0].strip().lower()
    detected = detected_types(head)
    if not accepted:
        return declared_type or (detected[0] if detected else OCTET_STREAM)
    if declared_type in ("", OCTET_STREAM):
        declared_type = next(
            (name for name in detected if _is_accepted(name, accepted)), detected[0] if detected else OCTET_STREAM
        )
    if not _is_accepted(declared_type, accepted):
        raise WrongFileType(f"The file is {declared_type}; accepted are {', '.join(accepted)}.")
    if _fits(declared_type, detected):
        return declared_type
    reason = f"its first bytes look like {detected[0]}" if detected else "its first bytes do not"
    raise WrongFileType(f"The file is declared as {declared_type}, but {reason}.")


def _is_accepted(name: str, accepted: Sequence[str]) -> bool:
    return any(
        pattern in ("*/*", name) or (pattern.endswith("/*") and name.startswith(pattern[:-1])) for pattern in accepted
    )


def _fits(declared_type: str, detected: Sequence[str]) -> bool:
    if not detected:
        return declared_type not in _ALWAYS
    # the format of an application may be built on another one: a .docx is a zip archive
    return declared_type in detected or (declared_type not in _KNOWN and declared_type.startswith("application/"))
