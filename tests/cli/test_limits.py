"""`sidelane limits`: how full the limits in use are."""

from sidelane.model.limit import Limit
from tests.cli.command import Command
from tests.cli.shelf import Shelf


def slots(name: str, key: str, most: int) -> Limit:
    return Limit(name=name, key=key, most=most, on_limit="wait")


def test_the_fullest_limit_is_listed_first(shelf: Shelf, sidelane: Command) -> None:
    for number, limit in enumerate((slots("wide", "ann", 4), slots("answer", "ann", 1), slots("half", "bob", 2))):
        shelf.claim(shelf.submit(f"job-{number}", limits=(limit,)))
    said = sidelane("limits")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == ["answer/ann", "half/bob", "wide/ann"]
    assert "1 of 1" in said.out
    assert [limit["id"] for limit in sidelane("limits", "--json", "--limit", "2").json] == ["answer/ann", "half/bob"]
    assert "the fullest 2 of 3" in sidelane("limits", "--limit", "2").err


def test_a_limit_tells_how_many_jobs_wait_at_it(shelf: Shelf, sidelane: Command) -> None:
    limit = slots("answer", "ann", 1)
    shelf.claim(shelf.submit("running", limits=(limit,)))
    for job_id in ("one", "two"):
        shelf.submit(job_id, limits=(limit,))
        assert shelf.ask_for(job_id) == ()
    (document,) = sidelane("limits", "--json").json
    assert document == {"id": "answer/ann", "held": 1, "most": 1, "waiting_for_limit": 2, "after": None}
    assert "when one is through" in sidelane("limits").out


def test_a_rate_tells_when_one_more_may_come(shelf: Shelf, sidelane: Command) -> None:
    rate = Limit(name="sms", key="ann", most=1, window=600.0, burst=1)
    shelf.submit("one", limits=(rate,))
    (document,) = sidelane("limits", "list", "--json").json
    assert 590 < document["after"] <= 600
    assert "in 9 min" in sidelane("limits").out or "in 10 min" in sidelane("limits").out


def test_limits_are_filtered_by_how_their_names_begin(shelf: Shelf, sidelane: Command) -> None:
    for key in ("ann", "bob"):
        shelf.claim(shelf.submit(f"{key}-1", limits=(slots("answer", key, 1), slots("sms", key, 1))))
    found = {limit["id"] for limit in sidelane("limits", "--name", "answer", "--json").json}
    assert found == {"answer/ann", "answer/bob"}
    assert [limit["id"] for limit in sidelane("limits", "--name", "sms/b", "--json").json] == ["sms/bob"]


def test_where_no_limit_is_in_use_it_says_where_it_looked(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("limits")
    assert (said.code, said.out) == (0, "")
    assert shelf.url in said.err
    assert sidelane("limits", "--json").json == []


def test_a_list_fits_a_narrow_terminal(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("one", limits=(slots("answer", "someone-with-a-long-name@example.com" * 3, 1),)))
    narrow = sidelane("limits", env={"COLUMNS": "80"})
    assert max(len(line) for line in narrow.out.splitlines()) <= 80
    assert "1 of 1" in narrow.out
