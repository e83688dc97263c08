"""Scripts for Locust and k6 that send the load of a plan: the file of the tool beside this module, with the plan filled in."""

import json
from pathlib import Path
from pprint import pformat
from typing import Any

from sidelane.ops.load.plan import LoadPlan, plan_document

PLAN = "__PLAN__"
"""What stands for the plan in the files."""


def locust_script(plan: LoadPlan) -> str:
    """Return the locustfile of a plan."""
    return _filled("locustfile.txt", pformat(_document(plan), width=118, sort_dicts=False))


def k6_script(plan: LoadPlan) -> str:
    """Return the script for k6 of a plan."""
    return _filled("k6.js", json.dumps(_document(plan), indent=2, ensure_ascii=False))


def _document(plan: LoadPlan) -> dict[str, Any]:
    document = {**plan_document(plan), "headers": dict(plan.headers)}
    document["url"] = plan.url.rstrip("/")
    return document


def _filled(name: str, plan: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8").replace(PLAN, plan)
