"""Jobs over HTTP with FastAPI: routes to submit, follow and cancel jobs."""

from sidelane.model.errors import MissingExtra

try:
    import fastapi as _fastapi  # noqa: F401 - imported only to report a missing extra
except ImportError as error:
    raise MissingExtra("sidelane.web needs FastAPI: install sidelane[web].") from error

from sidelane.web.documents import event_schemas
from sidelane.web.problems import problem_handler
from sidelane.web.request_metrics import RequestMetrics
from sidelane.web.responder import Responder
from sidelane.web.router import Jobs

__all__ = ["Jobs", "RequestMetrics", "Responder", "event_schemas", "problem_handler"]
