"""Who is asking."""

from typing import Annotated

from fastapi import Depends, Header


def current_user(x_user: Annotated[str, Header(min_length=1, max_length=64)]) -> str:
    """Give the user's id. A stand-in, which believes a header: put your own here, one that checks a session or a token."""
    return x_user


User = Annotated[str, Depends(current_user)]
