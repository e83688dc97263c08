"""`sidelane limits`: list the limits in use."""

from sidelane.model.limit import Limit
from tests.cli.command import Command
from tests.cli.store_driver import StoreDriver


def slots(name: str, key: str, most: int) -> Limit:
    return Limit(name=name, key=key, max=most, on_limit="wait")


def test_the_fullest_limit_is_listed_first(driver: StoreDriver, sidelane: Command) -> None:
    for number, limit in enumerate((slots("wide", "ann", 4), slots("answer", "ann", 1), slots("half", "bob", 2))):
        driver.claim(driver.submit(f"job-{number}", limits=(limit,)))
    result = sidelane("limits")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["answer/ann", "half/bob", "wide/ann"]
    assert "1 of 1" in result.stdout
    assert [limit["id"] for limit in sidelane("limits", "--json", "--limit", "2").json] == ["answer/ann", "half/bob"]
    assert "the fullest 2 of 3" in sidelane("limits", "--limit", "2").stderr


def test_a_limit_shows_how_many_jobs_wait_for_it(driver: StoreDriver, sidelane: Command) -> None:
    limit = slots("answer", "ann", 1)
    driver.claim(driver.submit("running", limits=(limit,)))
    for job_id in ("one", "two"):
        driver.submit(job_id, limits=(limit,))
        assert driver.try_claim(job_id) == ()
    (document,) = sidelane("limits", "--json").json
    assert document == {
        "id": "answer/ann",
        "used": 1,
        "max": 1,
        "waiting_for_limit": 2,
        "available_in": None,
        "changed": None,
    }
    assert "when a job ends" in sidelane("limits").stdout


def test_a_rate_limit_shows_when_it_admits_the_next_job(driver: StoreDriver, sidelane: Command) -> None:
    rate = Limit(name="sms", key="ann", max=1, window=600.0, burst=1)
    driver.submit("one", limits=(rate,))
    (document,) = sidelane("limits", "list", "--json").json
    assert 590 < document["available_in"] <= 600
    assert "in 9 min" in sidelane("limits").stdout or "in 10 min" in sidelane("limits").stdout


def test_limits_can_be_filtered_by_prefix(driver: StoreDriver, sidelane: Command) -> None:
    for key in ("ann", "bob"):
        driver.claim(driver.submit(f"{key}-1", limits=(slots("answer", key, 1), slots("sms", key, 1))))
    found = {limit["id"] for limit in sidelane("limits", "--name", "answer", "--json").json}
    assert found == {"answer/ann", "answer/bob"}
    assert [limit["id"] for limit in sidelane("limits", "--name", "sms/b", "--json").json] == ["sms/bob"]


def test_an_empty_list_names_the_store(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("limits")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"No limit is in use in {driver.url}" in result.stderr
    assert "No matching limit" in sidelane("limits", "--name", "sms").stderr
    assert sidelane("limits", "--json").json == []


def test_the_list_fits_a_narrow_terminal(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("one", limits=(slots("answer", "someone-with-a-long-name@example.com" * 3, 1),)))
    narrow = sidelane("limits", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.stdout.splitlines()) <= 80
    assert "1 of 1" in narrow.stdout


def test_a_changed_limit_binds_jobs_until_it_is_reset(driver: StoreDriver, sidelane: Command) -> None:
    limit = slots("answer", "ann", 1)
    driver.claim(driver.submit("running", limits=(limit,)))
    driver.submit("one", limits=(limit,))
    assert driver.try_claim("one") == ()
    result = sidelane("limits", "set", "answer/ann", "2", "--until", "2h", "--reason", "a second account")
    assert (result.exit_code, result.stdout.strip()) == (0, "✓ answer/ann  2 at once for 2 h")
    assert driver.try_claim("one") != ()
    (document,) = sidelane("limits", "--json").json
    assert (document["used"], document["max"], document["changed"]["reason"]) == (2, 2, "a second account")
    listed = sidelane("limits").stdout
    assert "CHANGED LIMIT" in listed
    assert "a second account" in sidelane("limits", "show", "answer/ann").stdout
    assert "2 of 2" in listed
    assert sidelane("limits", "reset", "answer/ann").stdout.strip() == "✓ answer/ann  the declared number is in force"
    assert sidelane("limits", "--json").json[0]["max"] == 1
    lines = sidelane("audit", "--json", "--action", "limit").json
    assert [(line["action"], line["target"]) for line in lines] == [
        ("limit.restore", "answer/ann"), ("limit.change", "answer/ann")
    ]  # fmt: skip
    assert lines[1]["reason"] == "a second account"


def test_changed_limits_are_listed_though_no_job_uses_them(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", limits=(Limit(name="sms", key="ann", max=1, window=600.0, burst=1),))
    assert "has its declared number" in sidelane("limits", "changed").stderr
    (document,) = sidelane("limits", "set", "sms", "5/hour", "--json").json
    assert (document["id"], document["done"], document["change"]["burst"]) == ("sms", True, 5)
    assert "sms (all keys)" in sidelane("limits", "changed").stdout
    assert [each["id"] for each in sidelane("limits", "changed", "--json").json] == ["sms"]


def test_a_limit_cannot_be_changed_to_nonsense(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("one", limits=(slots("answer", "ann", 1),)))
    for arguments, code, sentence in (
        (("answer", "0"), 1, "pause its queue"),
        (("answer", "5/hour"), 1, "counts jobs"),
        (("anser", "5"), 4, "There is no limit 'anser'. Known limits: answer."),
        (("answer", "5", "--until", "soon"), 2, "write how long"),
        (("answer", "5", "--until", "2001-01-01"), 1, "has passed"),
    ):
        result = sidelane("limits", "set", *arguments)
        assert sentence in " ".join(result.stderr.split()), arguments
        assert result.exit_code == code, arguments
    assert sidelane("limits", "changed", "--json").json == []


def test_show_lists_who_uses_a_limit_and_who_waits_in_order(driver: StoreDriver, sidelane: Command) -> None:
    limit = slots("answer", "ann/b", 1)
    driver.claim(driver.submit("running", limits=(limit,)))
    for number in range(120):
        driver.submit(f"job-{number}", priority=number % 2, limits=(limit,))
    assert driver.try_claim(*(f"job-{number}" for number in range(120))) == ()
    document = sidelane("limits", "show", "answer/ann/b", "--json", "--limit", "110").json
    order = [f"job-{number}" for number in (*range(1, 120, 2), *range(0, 120, 2))]
    assert [job["id"] for job in document["using"]] == ["running"]
    assert [job["id"] for job in document["waiting"]] == order[:110]
    assert (document["used"], document["waiting_for_limit"]) == (1, 120)
    result = sidelane("limits", "show", "answer/ann/b", env={"COLUMNS": "80"})
    assert "120 jobs wait; these are the first 50 to start" in result.stderr
    assert result.stdout.index("running") < result.stdout.index("job-1 ") < result.stdout.index("job-3 ")
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_show_of_an_unused_limit_says_so(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("limits", "show", "gone/\x1b[2J")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Limit gone/\\x1b[2J is not in use" in result.stderr
    document = sidelane("limits", "show", "gone/x", "--json").json
    assert document == {"id": "gone/x", "used": 0, "using": [], "waiting": []}
