"""The HTTP half: jobs answered, followed and cancelled over FastAPI."""

from sidelane.model.errors import MissingExtra

try:
    import fastapi as _fastapi  # noqa: F401 - only to say what is missing
except ImportError as error:
    raise MissingExtra("sidelane.web needs FastAPI: install sidelane[web].") from error

from sidelane.web.events import schemas
from sidelane.web.problems import problem_handler
from sidelane.web.responder import Responder
from sidelane.web.router import Jobs

__all__ = ["Jobs", "Responder", "problem_handler", "schemas"]
