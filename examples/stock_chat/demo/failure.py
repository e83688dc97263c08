"""Failure of the demo."""


class DemoFailed(Exception):
    """A step of the demo failed."""


def expect(condition: bool, message: str) -> None:
    """Raise `DemoFailed(message)` unless the condition is true."""
    if not condition:
        raise DemoFailed(message)
