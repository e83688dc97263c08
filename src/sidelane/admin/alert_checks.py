"""Check of alerts: whether their address can be posted to."""

from collections.abc import Iterator
from importlib.util import find_spec

from sidelane.admin.check_results import CheckResult, ok, warning
from sidelane.admin.findings.alerts import INVALID, alert_policy
from sidelane.callbacks.ssrf import AddressRefused
from sidelane.callbacks.url import parse_url
from sidelane.model.errors import ArgumentsError
from sidelane.model.settings import Settings


def check_alerts(settings: Settings) -> Iterator[CheckResult]:
    """Check the address of alerts without a request to it. The results have neither its path nor its query."""
    if not settings.alert_url:
        return
    try:
        host = parse_url(settings.alert_url).host
        alert_policy(settings).check_host(host)
    except AddressRefused as error:
        yield warning(
            "alerts", f"No alert arrives: {error}", "Name an address that may be reached in SIDELANE_ALERT_URL."
        )
    except ArgumentsError:
        yield warning("alerts", f"{INVALID}.", "Copy the URL of the webhook again, without a user name or spaces.")
    else:
        if find_spec("httpcore2") is None:
            yield warning("alerts", "Alerts need a driver that is not installed.", "pip install 'sidelane[webhooks]'")
        else:
            yield ok("alerts", f"Alerts of findings are posted to {host}.")
