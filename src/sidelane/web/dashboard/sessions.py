"""Sessions: sign in with a password, for a dashboard without the application's own users."""

import hmac
import json
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from sidelane.client.client import Client
from sidelane.model.errors import ConfigurationError, SidelaneError
from sidelane.model.signing import decode_base64url, encode_base64url, is_signature, sign
from sidelane.web.dashboard.operators import Operator, Role

COOKIE: Final = "sidelane_operator"

LASTS: Final = 12 * 3600
"""Seconds until an operator has to sign in again."""

MIN_PASSWORD: Final = 12
"""Characters of a password at least, because nothing limits how often somebody may try."""

MAX_COOKIE: Final = 1000
MAX_NAME: Final = 60

_PAGE: Final = re.compile(r"[A-Za-z0-9][!-\[\]-~]{0,2000}")
"""A URL below that of the dashboard: printable ASCII without a backslash, which browsers read as a slash."""


class Sessions:
    """The operators that have signed in with one of the passwords. A signed cookie is all that is kept of them."""

    def __init__(self, passwords: Mapping[Role, str]) -> None:
        """Raise `ConfigurationError` for a password that is too short."""
        for role, password in passwords.items():
            if len(password) < MIN_PASSWORD:
                raise ConfigurationError(
                    f"The dashboard's password of the role {role} has {len(password)} characters; use at least {MIN_PASSWORD}."
                )
        self._passwords = passwords

    async def operator(self, request: Request, client: Client) -> Operator | None:
        """Return who has signed in, or None."""
        content, _, signature = request.cookies.get(COOKIE, "")[:MAX_COOKIE].partition(".")
        try:
            if not is_signature(await self._key(client), content, signature):
                return None
            name, role, until = json.loads(decode_base64url(content))
            return Operator(name, Role(role)) if time.time() < until else None
        except (ValueError, SidelaneError):
            return None

    async def can_check(self, client: Client) -> bool:
        """Return whether sessions can be checked, which needs the store once in each process."""
        try:
            await self._key(client)
        except SidelaneError:
            return False
        return True

    async def sign_in(self, request: Request, client: Client, to: str) -> Response | None:
        """Return the response that signs an operator in and leads to a page, or None if the password is wrong.

        Raises `StoreError`.
        """
        form = await request.form(max_files=0, max_fields=10)
        name = str(form.get("name", "")).strip()[:MAX_NAME] or "operator"
        offered = str(form.get("password", ""))[:MAX_COOKIE].encode()
        found = [role for role, password in self._passwords.items() if hmac.compare_digest(password.encode(), offered)]
        if not found:
            return None
        content = encode_base64url(json.dumps([name, max(found, key=list(Role).index), time.time() + LASTS]).encode())
        response = RedirectResponse(to, HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE, f"{content}.{sign(await self._key(client), content)}", max_age=LASTS, httponly=True, samesite="strict",
            secure=request.url.scheme == "https", path=request.url.path.removesuffix("sign-in"),
        )  # fmt: skip
        return response

    @staticmethod
    def sign_out(request: Request, base: str) -> Response:
        """Return the response that ends a session."""
        response = RedirectResponse(base, HTTPStatus.SEE_OTHER)
        response.delete_cookie(COOKIE, path=request.url.path.removesuffix("sign-out"))
        return response

    async def _key(self, client: Client) -> bytes:
        """Return the signing key. A changed password ends all sessions."""
        passwords = "\0".join(f"{role}:{password}" for role, password in sorted(self._passwords.items()))
        return hmac.digest(await client.key("dashboard sessions"), passwords.encode(), "sha256")


def page_after_sign_in(request: Request) -> str:
    """Return the URL of the page that was requested before the sign-in, by the parameter `next`.

    It begins with a dot, so that it never leads to another host. Anything but a page below the dashboard is the front page.
    """
    requested = request.query_params.get("next", "")
    below = ".." not in unquote(requested.partition("?")[0])
    return f"./{requested}" if below and _PAGE.fullmatch(requested) else "./"
