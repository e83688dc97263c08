"""Snippets of the page about the dashboard run as written."""

import re
from pathlib import Path
from typing import Any

import httpx2

from sidelane.web.dashboard import Operator, Role

PAGE = Path(__file__).parents[2] / "docs" / "dashboard.md"


async def test_mounted_dashboard_opens_for_operators_only(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SIDELANE_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    names: dict[str, Any] = {}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(compile(snippet, str(PAGE), "exec"), names)  # noqa: S102 - the page of this repository
    async with names["lane"].open():
        transport = httpx2.ASGITransport(app=names["app"])
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/ops/")).status_code == 403
            page = await client.get("/ops/", headers={"X-Forwarded-User": "ann"})
            assert (page.status_code, "ann, operator" in page.text) == (200, True)
    may = names["may"]
    assert may(Operator("ann", Role.OPERATOR), "bulk.purge", "chat")
    assert not may(Operator("bob", Role.OPERATOR), "bulk.purge", "chat")
