"""Random requests, made from the OpenAPI description: every answer is one that the description has, and none is a defect."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import ChecksConfig, GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from tests.security.fuzzed_app import make_app

SECONDS = int(os.environ.get("FUZZING_SECONDS", "90"))
"""How long the run lasts at most. By hand it may be longer: FUZZING_SECONDS=600."""

FIXED = bool(os.environ.get("CI"))
"""Whether requests are the same in every run, so that only a change of the code makes it fail."""

EXCLUDED = {
    "missing_required_header": "no header is required: the token of a completion may be in the query instead",
    "allow_header_conformance": "FastAPI makes one route for each method of a path, and Starlette's 405 names those of the first",
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(SECONDS + 60),
    # it is about Hypothesis's own report of what a check found; schemathesis ignores it in one of its phases, as here in all
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]


def configuration() -> SchemathesisConfig:
    """Return what is generated, and what is checked: everything but what is excluded."""
    checks = ChecksConfig.from_dict({name: {"enabled": False} for name in EXCLUDED})
    generation = GenerationConfig(max_examples=40, deterministic=FIXED)
    project = ProjectConfig(checks=checks, generation=generation)
    return SchemathesisConfig(seed=1 if FIXED else None, max_time=SECONDS, projects=ProjectsConfig(default=project))


def is_meant(check: str, title: str, answer: dict[str, Any]) -> bool:
    """Return whether an answer that a check finds wrong is right all the same."""
    if check == "not_a_server_error":
        return "job_id" in answer  # the problem of a failed job, whose task chose the status
    if check == "response_schema_conformance":  # OpenAPI 3.1 can only describe the text of the whole stream
        return title == "SSE event violates schema"
    if check == "positive_data_acceptance":  # no description can say of which job a cursor is, or which keys are used
        return str(answer.get("detail")).endswith(("is of another job.", "was used with another request."))
    return False


def defects(recorder: ScenarioRecorder) -> dict[str, str]:
    """Return the failures of a scenario, by operation and check, each with a request that repeats it."""
    found = {}
    for case_id, checks in recorder.checks.items():
        response = recorder.interactions[case_id].response
        content = response.content if response else b""
        operation = recorder.cases[case_id].value.operation
        for check in checks:
            failure = check.failure_info and check.failure_info.failure
            if failure and check.failure_info and not is_meant(check.name, failure.title, problem_in(content)):
                text = f"{failure.message}\n{check.failure_info.code_sample}\n{content[:500]!r}"
                found[f"{operation.label}: {check.name}: {failure.title}"] = text
        if response and not is_described(response.status_code, operation.definition.raw["responses"], content):
            found[f"{operation.label}: {response.status_code} is not described"] = repr(content[:500])
    return found


def is_described(status: int, responses: dict[str, Any], content: bytes) -> bool:
    """Return whether a status is described by itself. `default` is only for the status that a failed job's task chose."""
    return str(status) in responses or status == 405 or "job_id" in problem_in(content)  # 405 is of no operation


def problem_in(content: bytes) -> dict[str, Any]:
    """Return the problem document in a response, or an empty one."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def test_every_answer_to_a_random_request_is_described_and_none_is_a_defect(tmp_path: Path) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(tmp_path), config=configuration())
    found: dict[str, str] = {}
    requests: Counter[str] = Counter()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                found |= defects(event.recorder)
                requests[event.phase.value] += len(event.recorder.interactions)
            case events.NonFatalError():
                found[event.label] = str(event.value)
            case events.FatalError():
                raise event.exception
            case _:  # what has begun, and what was skipped
                pass
    print(dict(requests))
    assert not found, "\n\n".join(f"{title}\n{text}" for title, text in sorted(found.items()))
    assert requests.total() > 500
