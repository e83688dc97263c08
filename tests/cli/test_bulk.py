"""`sidelane bulk`: list, show and stop bulk actions."""

from sidelane.admin.bulk import capture, chosen_jobs
from sidelane.client.bulk_actions import BulkKind
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.store_driver import StoreDriver


def test_an_action_of_a_command_is_listed_and_shown(driver: StoreDriver, sidelane: Command) -> None:
    for number in range(3):
        driver.submit(f"job-{number}")
    assert sidelane("jobs", "cancel", "--all", "--yes", "--task", "answer", "--reason", "wrong model").exit_code == 0
    (listed,) = sidelane("bulk", "--json").json
    assert (listed["action"], listed["state"], listed["captured"], listed["done"]) == ("cancel", "done", 3, 3)
    assert listed["id"] in sidelane("bulk", "list", env={"COLUMNS": "80"}).stdout
    shown = sidelane("bulk", "show", listed["id"]).stdout
    for text in ("cancel, done", "task answer", "3 of 3: 3 done, 0 left alone, 0 refused", "wrong model"):
        assert text in shown
    assert sidelane("bulk", "show", listed["id"], "--json").json == listed


def test_stop_ends_an_action_and_leaves_an_audit_line(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")

    async def captured(store: Store) -> str:
        pages = chosen_jobs(store, ["one"])
        return (await capture(store, BulkKind.CANCEL, pages, filter_text="one", by="ann")).id

    action_id = driver.call(captured)
    result = sidelane("bulk", "stop", action_id)
    assert (result.exit_code, result.stdout) == (0, f"✓ {action_id}  stopped after 0 of 1\n")
    assert sidelane("bulk", "--json").json[0]["state"] == "stopped"
    (line,) = sidelane("audit", "--json").json
    assert (line["action"], line["target"]) == ("bulk.stop", action_id)


def test_unknown_action_exits_with_4(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    for verb in ("show", "stop"):
        result = sidelane("bulk", verb, "gone")
        assert result.exit_code == 4, verb
        assert "There is no such bulk action" in result.stderr
    assert "No bulk action in" in sidelane("bulk").stderr
