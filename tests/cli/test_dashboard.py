"""`sidelane dashboard`: the dashboard alone, with its own port and passwords."""

import re
import signal

import httpx2
import pytest

from sidelane.processes.exit_code import Exit
from tests.cli.command import Command
from tests.cli.project import CliProcess, Project
from tests.cli.store_driver import StoreDriver


def address(process: CliProcess) -> str:
    """Wait until the address of the dashboard is printed, and return it."""
    process.wait_for("The dashboard is at http://")
    found = re.search(r"http://\S+", process.output)
    assert found
    return found[0]


@pytest.mark.system
@pytest.mark.long
def test_dashboard_prints_a_password_with_which_an_operator_signs_in(project: Project, driver: StoreDriver) -> None:
    driver.submit("one")
    process = project.start("dashboard", "shop.lane:lane", "--port", "0")
    with httpx2.Client(base_url=address(process), follow_redirects=True, timeout=30) as client:
        assert "Sign in" in client.get("queues", headers={"Accept": "text/html"}).text
        password = process.output.split("until it stops, is ")[1].split()[0]
        client.post("sign-in", data={"name": "ann", "password": password})
        assert "chat" in client.get("queues").text
    process.signal(signal.SIGTERM)
    process.exit_code()
    assert "Traceback" not in process.output


def test_short_password_in_the_settings_is_refused(sidelane: Command, project: Project) -> None:
    done = sidelane("dashboard", "--port", "0", env={"SIDELANE_DASHBOARD_PASSWORD": "short"})
    assert done.exit_code == Exit.CONFIGURATION
    assert "at least 12" in done.stderr
