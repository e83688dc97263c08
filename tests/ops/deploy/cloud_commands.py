"""Commands `aws` and `gcloud` of the tests, for generated scripts: `python -m tests.ops.deploy.cloud_commands aws sqs …`.

`aws` translates its arguments for the SDK, as the real one does, and calls the server that the environment names. `gcloud`
writes its arguments into the file GCLOUD_LOG; what was created there exists.
"""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def install(folder: Path) -> dict[str, str]:
    """Write both commands into a folder, and return the environment in which a shell finds them."""
    folder.mkdir()
    for name in ("aws", "gcloud"):
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.ops.deploy.cloud_commands {name} "$@"\n')
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "GCLOUD_LOG": str(folder / "log.jsonl"),
    }  # fmt: skip


def gcloud_log(environment: dict[str, str]) -> list[list[str]]:
    """Return the arguments of each call of `gcloud`."""
    return [json.loads(line) for line in Path(environment["GCLOUD_LOG"]).read_text().splitlines()]


def options(arguments: list[str]) -> dict[str, str]:
    """Return the values of options, written with a space or `=`."""
    found = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.removeprefix("--").partition("=")
        found[name] = value if equals else next(rest)
    return found


def aws(service: str, operation: str, *arguments: str) -> None:
    import boto3

    given = options(list(arguments))
    query = given.pop("query", None)
    assert given.pop("output", "text") == "text"
    client = boto3.client(service, region_name=given.pop("region", None), endpoint_url=given.pop("endpoint-url", None))
    parameters: dict[str, Any] = {
        "".join(part.title() for part in name.split("-")): json.loads(value) if name == "attributes" else value
        for name, value in given.items()
    }
    answer = getattr(client, operation.replace("-", "_"))(**parameters)
    if query:
        print(answer[query])


def gcloud(*arguments: str) -> None:
    log = Path(os.environ["GCLOUD_LOG"])
    before = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    match arguments:
        case ("config", "get-value", "project"):
            print("leafresh")
        case ("projects", "describe", _, "--format=value(projectNumber)"):
            print("4711")
        case ("pubsub", kind, "describe", name, project):
            sys.exit(0 if any(each[:5] == ["pubsub", kind, "create", name, project] for each in before) else 1)
        case _:
            with log.open("a") as file:
                file.write(json.dumps(arguments) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "aws":
        aws(*sys.argv[2:])
    else:
        gcloud(*sys.argv[2:])
