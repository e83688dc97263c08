"""Signatures of tokens and links: HMAC-SHA256 (RFC 2104), written as base64url without padding (RFC 4648, section 5)."""

import base64
import hmac


def sign(key: bytes, text: str) -> str:
    """Return the signature of a text: 43 characters."""
    return encode_base64url(hmac.digest(key, text.encode(), "sha256"))


def is_signature(key: bytes, text: str, signature: str) -> bool:
    """Return whether this is the signature of a text. The comparison takes constant time, wherever the signatures differ."""
    return hmac.compare_digest(sign(key, text).encode(), signature.encode())


def encode_base64url(content: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Return the bytes of a base64url text without padding. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
