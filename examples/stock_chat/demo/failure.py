"""How the demo says that it did not go as it should."""


class DemoFailed(Exception):
    """A step of the demo did not do what it shows."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise `DemoFailed` with a sentence unless something holds."""
    if not holds:
        raise DemoFailed(otherwise)
