"""Compose file: it is valid, says what the description says, and contains no secret."""

import json
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from sidelane.ops.deploy.compose import compose_files
from tests.ops.deploy.facts import SERVICE, TICKER, facts


def compose(folder: Path, text: str = SERVICE) -> tuple[dict[str, Any], str]:
    """Return the parsed file, after it was validated, and its text."""
    file, example = compose_files(facts(folder, text))
    assert (file.name, example.name) == ("compose.yaml", ".env.example")
    document = yaml.safe_load(file.text)
    compose_spec.PyCompose.from_json(json.dumps(without_references(document))).validate()
    return document, file.text


def without_references(value: Any) -> Any:
    """Return a document as compose sees it after it has replaced `${NAME:-default}`, `$$` and extensions."""
    match value:
        case dict():
            return {name: without_references(inner) for name, inner in value.items() if not name.startswith("x-")}
        case list():
            return [without_references(inner) for inner in value]
        case str():
            return value.replace("${SHOP_IMAGE:-shop:latest}", "shop:latest").replace("$$", "$")
        case _:
            return value


@pytest.mark.row("R21")
def test_every_group_is_a_service_with_checks_and_enough_time_to_stop(tmp_path: Path) -> None:
    services = compose(tmp_path)[0]["services"]
    assert list(services) == ["redis", "general", "heavy", "chat", "rest", "model"]
    for name, service in services.items():
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
        assert name == "redis" or service["init"] is True
    # the longest task of its queues, 240 s, and its clean-up, and a margin; the limit of the description
    assert (services["chat"]["stop_grace_period"], services["rest"]["stop_grace_period"]) == ("260s", "55s")
    assert services["general"]["stop_grace_period"] == "42s"
    assert services["rest"]["profiles"] == ["manual"]
    assert services["model"]["working_dir"] == "/srv/app/models"


def test_numbers_of_processes_come_from_the_env_file(tmp_path: Path) -> None:
    services = compose(tmp_path)[0]["services"]
    command = services["chat"]["command"]
    assert command[:3] == ["sidelane", "worker", f"{TICKER}:lane"]
    assert command[command.index("--processes") + 1] == "${WORKERS_CHAT:-2}"
    example = compose_files(facts(tmp_path))[1].text
    assert {"API_GENERAL=2", "API_HEAVY=1", "WORKERS_CHAT=2", "WORKERS_REST=1"} <= set(example.splitlines())


def test_metrics_can_be_scraped_from_another_container(tmp_path: Path) -> None:
    text = SERVICE.replace('queues = ["chat"]', 'queues = ["chat"]\nmetrics_port = 9100')
    command = compose(tmp_path, text)[0]["services"]["chat"]["command"]
    assert command[command.index("--metrics-port") + 1] == "9100"
    assert command[-2:] == ["--health-host", "0.0.0.0"]  # noqa: S104 - what is written into a file


def test_redis_keeps_an_append_only_file_and_takes_the_place_of_a_local_store(tmp_path: Path) -> None:
    document, _ = compose(tmp_path)
    command = document["services"]["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert document["services"]["redis"]["volumes"] == ["redis:/data"]
    assert document["services"]["chat"]["environment"]["SIDELANE_STORE"] == "redis://redis:6379/0"
    assert document["services"]["chat"]["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_store_of_another_host_stays(tmp_path: Path) -> None:
    document, text = compose(tmp_path, SERVICE.replace("redis://127.0.0.1:6379/0", "redis://:hunter2@db.example.com/0"))
    assert "redis" not in document["services"]
    assert document["services"]["chat"]["environment"]["SIDELANE_STORE"].startswith("${SIDELANE_STORE:?")
    assert "hunter2" not in text


def test_secrets_are_not_written_and_dollars_are_escaped(tmp_path: Path) -> None:
    document, text = compose(tmp_path)
    assert "hunter2" not in text
    environment = document["services"]["chat"]["environment"]
    assert environment["STAGE"] == 'a $$HOME $${HOME} $$(id) %h "b" \\ c'
    assert environment["API_KEY"].startswith("${API_KEY:?")
    assert document["services"]["model"]["command"][-1] == '$$HOME % "x" \\ $$(id)'
    assert "# CHANGE THIS: localhost is the container itself." in text
    assert {"API_KEY=", "MODEL_TOKEN="} <= set(compose_files(facts(tmp_path))[1].text.splitlines())


def test_variables_of_the_env_file_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "shop.env").write_text("PLAIN=hidden\n")
    document, text = compose(tmp_path, f'env_file = "shop.env"\n[api.web]\napp = "{TICKER}:app"')
    assert document["services"]["web"]["env_file"] == ["shop.env"]
    assert "hidden" not in text


def test_group_named_redis_keeps_its_name(tmp_path: Path) -> None:
    document, _ = compose(tmp_path, f'[command.redis]\nrun = "redis-server"\n[api.web]\napp = "{TICKER}:app"')
    assert document["services"]["redis"]["command"][:2] == ["sidelane", "run"]
    assert document["services"]["web"]["environment"]["SIDELANE_STORE"] == "redis://sidelane-redis:6379/0"
