"""`sidelane users`: who submits most, and who costs most."""

from tests.cli.command import Command
from tests.cli.store_driver import StoreDriver


def test_the_users_with_most_jobs_are_listed_first(driver: StoreDriver, sidelane: Command) -> None:
    for number, user in enumerate(["ann", "flood", "flood", "flood"]):
        driver.submit(f"job-{number}", user=user)
    result = sidelane("users", "--by", "jobs")
    assert result.exit_code == 0
    assert "flood submitted most jobs: 3, 75 % of all." in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[-2:]] == ["flood", "ann"]
    document = sidelane("users", "--by", "jobs", "--limit", "1", "--json").json
    assert (document["by"], document["all"]["jobs"]) == ("jobs", 4)
    assert [(each["user"], each["jobs"], each["cost"]) for each in document["users"]] == [("flood", 3, 0.0)]


def test_a_store_without_users_says_so(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("users")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"No job of a user in {driver.url} since" in result.stderr
    assert sidelane("users", "--json").json["users"] == []
