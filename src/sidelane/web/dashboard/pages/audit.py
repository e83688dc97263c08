"""Audit: who changed what, when, why and with which result, newest first."""

import re
from typing import Final
from urllib.parse import urlencode

from fastapi import Response

from sidelane.admin.audit import MAX_LINES, AuditFilter, read_audit
from sidelane.web.dashboard.site import Site, View

FIELDS: Final = ("by", "action", "target")
"""The parameters that select lines."""

MAX_FIELD: Final = 200

_NUMBER = re.compile(r"[0-9]{1,15}")


def add_pages(site: Site) -> None:
    """Add the page."""
    site.get("/audit", _list)


async def _list(view: View) -> Response:
    chosen = {name: view.query.get(name, "").strip()[:MAX_FIELD] for name in FIELDS}
    number = view.query.get("before", "")
    before = int(number) if _NUMBER.fullmatch(number) else None
    found = await read_audit(view.store, AuditFilter(**chosen), before=before)
    fields = {name: value for name, value in chosen.items() if value}
    older = None if found.before is None else f"?{urlencode({**fields, 'before': found.before})}"
    return await view.page(
        "audit.html", current="audit", lines=found.lines, chosen=chosen, filtered=bool(fields), first=before is None,
        older=older, newest=f"?{urlencode(fields)}", kept=MAX_LINES,
    )  # fmt: skip
