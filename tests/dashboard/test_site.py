"""Every page: who may open it, what its headers forbid, and which requests may change something."""

import signal
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from fastapi import FastAPI

from sidelane import Sidelane
from sidelane.model.errors import ConfigurationError
from sidelane.web.dashboard import dashboard
from tests.contract.servers import RunningServer
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop, make_shop
from tests.web.clients import Server, run_server

PASSWORD = "correct horse battery"  # noqa: S105 - of a test


async def test_policy_of_pages_allows_only_own_scripts_and_styles(server: Server) -> None:
    page = await get(server, "queues")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text


async def test_assets_of_a_page_are_served_by_the_application(server: Server) -> None:
    for name in ("dashboard.css", "dashboard.js", "htmx.min.js", "uplot.min.js"):
        assert (await get(server, f"static/{name}")).status_code == 200
    assert (await get(server, "static/site.py")).status_code == 404


async def test_dashboard_is_closed_unless_it_is_said_who_may_open_it(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, include=lambda lane, app: app.include_router(dashboard(lane), prefix="/ops"))
    async with run_server(shop.app) as server:
        for path in ("queues", "live"):
            page = await get(server, path)
            assert page.status_code == 403
            assert "closed" in text_of(page)


async def test_person_who_is_no_operator_sees_nothing(server: Server) -> None:
    page = await get(server, "queues", headers={"Cookie": "who=mallory"})
    assert page.status_code == 403
    assert "chat" not in text_of(page)


async def test_request_without_the_token_of_a_page_changes_nothing(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    for token in ("", "0.x", "ffffff.abc"):
        answer = await server.client.post("/ops/queues/chat/pause", data={"token": token})
        assert answer.status_code == 403
    assert not any(queue.paused for queue in await shop.lane.client.store.stats())


async def test_token_of_another_site_or_operator_changes_nothing(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await get(server, "queues")
    token = {"token": token_of(page)}
    foreign = await server.client.post("/ops/queues/chat/pause", data=token, headers={"Sec-Fetch-Site": "cross-site"})
    viewer = await server.client.post("/ops/queues/chat/pause", data=token, headers={"Cookie": "who=vic"})
    assert (foreign.status_code, viewer.status_code) == (403, 403)
    assert not any(queue.paused for queue in await shop.lane.client.store.stats())


async def test_viewer_sees_queues_and_changes_nothing(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    headers = {"Cookie": "who=vic"}
    page = await get(server, "queues", headers=headers)
    assert "Pause" not in text_of(page)
    answer = await server.client.post("/ops/queues/chat/pause", data={"token": token_of(page)}, headers=headers)
    assert answer.status_code == 403


async def test_operator_pauses_a_queue_and_reads_what_was_done(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    answer = await act(server, "queues/chat/pause", await get(server, "queues"))
    assert answer.status_code == 303
    assert "chat: paused" in text_of(await get(server, "queues"))


def with_password(lane: Sidelane, app: FastAPI) -> None:
    app.include_router(dashboard(lane, password=PASSWORD), prefix="/ops")


async def test_operator_signs_in_with_the_password_and_out(tmp_path: Path) -> None:
    async with run_server(make_shop(tmp_path, include=with_password).app) as server:
        closed = await get(server, "queues", headers={"Accept": "text/html"})
        assert closed.headers["location"].endswith("sign-in?next=queues")
        wrong = await server.client.post("/ops/sign-in", data={"name": "ann", "password": "guess"})
        assert wrong.status_code == 403
        done = await server.client.post("/ops/sign-in", data={"name": "ann", "password": PASSWORD})
        assert done.status_code == 303
        assert "ann, operator" in text_of(await get(server, "queues"))
        await server.client.post("/ops/sign-out")
        assert (await get(server, "queues")).status_code == 403


@pytest.mark.parametrize("asked", ["jobs?user=ann&state=failed", "queues/a%2Fb", "tasks/reports%20of%20%EC%A3%BC", ""])
async def test_sign_in_returns_to_the_page_that_was_asked_for(tmp_path: Path, asked: str) -> None:
    async with run_server(make_shop(tmp_path, include=with_password).app) as server:
        closed = await get(server, asked, headers={"Accept": "text/html"})
        at = urljoin(str(closed.url), closed.headers["location"])
        assert ("next=" in at) == bool(asked)
        wrong = await server.client.post(at, data={"name": "ann", "password": "guess"})
        assert wrong.status_code == 403
        done = await server.client.post(at, data={"name": "ann", "password": PASSWORD})
        assert urlsplit(urljoin(at, done.headers["location"]))[2:4] == urlsplit(f"/ops/{asked}")[2:4]


@pytest.mark.parametrize(
    "asked",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil.example", "\t//evil.example", "../admin", "a/%2e%2e/x",
     "javascript:alert(1)", "jobs\r\nSet-Cookie: a=b", "@evil.example", ".evil.example"],
)  # fmt: skip
async def test_sign_in_never_leads_out_of_the_dashboard(tmp_path: Path, asked: str) -> None:
    async with run_server(make_shop(tmp_path, include=with_password).app) as server:
        done = await server.client.post(
            "/ops/sign-in", params={"next": asked}, data={"name": "ann", "password": PASSWORD}
        )
        target = urlsplit(urljoin("https://shop.example/ops/sign-in", done.headers["location"]))
        assert (target.scheme, target.netloc) == ("https", "shop.example")
        assert target.path.startswith("/ops/")
        assert set(done.headers.get_list("set-cookie")) == {done.headers["set-cookie"]}


async def test_page_of_an_away_store_asks_nobody_to_sign_in(tmp_path: Path) -> None:
    server_of_store = RunningServer("valkey", tmp_path).start()
    try:
        shop = make_shop(tmp_path, store=server_of_store.url(), include=with_password)
        async with run_server(shop.app) as server:
            await server.client.post("/ops/sign-in", data={"name": "ann", "password": PASSWORD})
            known = shop.lane.client._secret
            for secret in (known, None):  # a process that has checked a session, and one that has not yet
                shop.lane.client._secret = secret
                server_of_store.stop(signal.SIGKILL)
                page = await get(server, "queues", headers={"Accept": "text/html"})
                assert page.status_code == 503
                assert "The store does not answer." in text_of(page)
                assert ("Refresh" in page.headers) == (secret is None)
                server_of_store.start()
            wrong = await server.client.post("/ops/sign-in", data={"name": "ann", "password": "guess"})
            assert wrong.status_code == 403
    finally:
        server_of_store.stop()


def test_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 12"):
        dashboard(Sidelane(store=f"sqlite:///{tmp_path}/jobs.db"), password="short")


async def test_reader_chooses_theme_and_language(server: Server) -> None:
    page = await get(server, "queues")
    await act(server, "preferences", page, theme="dark", language="ko")
    page = await get(server, "queues")
    assert '<html lang="ko" data-theme="dark">' in page.text
