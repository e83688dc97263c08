"""Dashboard: pages on which operators watch a lane and act, mounted in an application or served alone."""

from sidelane.model.errors import MissingExtra

try:
    import jinja2 as _jinja2  # noqa: F401 - imported only to report a missing extra
except ImportError as error:
    raise MissingExtra("The dashboard needs Jinja2: install sidelane[dashboard].") from error

from sidelane.web.dashboard.operators import Operator, Role
from sidelane.web.dashboard.router import dashboard

__all__ = ["Operator", "Role", "dashboard"]
