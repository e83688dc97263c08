"""Kubernetes manifests: they are valid, and pods have probes, time to stop and budgets."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from fastapi import FastAPI

from sidelane.ops.deploy.kubernetes import kubernetes_files
from sidelane.web import Jobs
from tests.ops.deploy import ticker
from tests.ops.deploy.facts import SERVICE, TICKER, facts

VERSION = "1.31"


def manifests(folder: Path, text: str = SERVICE, name: str = "shop") -> tuple[dict[tuple[str, str], Any], str]:
    """Return the manifests by kind and name, after they were validated, and their text."""
    (file,) = kubernetes_files(facts(folder, text, name=name), None)
    documents = list(yaml.safe_load_all(file.text))
    for document in documents:
        if document["kind"] == "ScaledObject":  # KEDA's, not a part of Kubernetes
            continue
        kubernetes_validate.validate(document, VERSION, strict=True)
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}, file.text


def container(found: dict[tuple[str, str], Any], name: str) -> Any:
    return found["Deployment", name]["spec"]["template"]["spec"]["containers"][0]


def test_every_group_is_a_deployment_and_what_listens_is_a_service(tmp_path: Path) -> None:
    found, _ = manifests(tmp_path)
    assert {name for kind, name in found if kind == "Deployment"} == {
        "shop-general", "shop-heavy", "shop-chat", "shop-rest", "shop-model",
    }  # fmt: skip
    assert {name for kind, name in found if kind == "Service"} == {"shop-general", "shop-heavy", "shop-model"}
    assert {name for kind, name in found if kind == "PodDisruptionBudget"} == {
        "shop-general", "shop-heavy", "shop-chat", "shop-rest",
    }  # fmt: skip
    assert found["Deployment", "shop-chat"]["spec"]["replicas"] == 2
    assert found["Deployment", "shop-rest"]["spec"]["replicas"] == 0  # it does not start with the service
    assert found["Deployment", "shop-model"]["spec"]["strategy"] == {"type": "Recreate"}


def test_pods_have_probes_on_the_health_port_and_time_to_stop(tmp_path: Path) -> None:
    found, _ = manifests(tmp_path)
    for name in ("shop-general", "shop-chat"):
        pod = container(found, name)
        paths = [pod[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
        assert paths == ["/health/live", "/health/live", "/health/ready"]
        assert {"name": "health", "containerPort": 9000} in pod["ports"]
        assert pod["args"][-2:] == ["--health-host", "0.0.0.0"]  # noqa: S104 - what is written into a file
        assert pod["args"][pod["args"].index("--processes") + 1] == "1"
    grace = {
        name: found["Deployment", name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for name in ("shop-general", "shop-chat", "shop-rest")
    }
    # the sleep before SIGTERM counts too
    assert grace == {"shop-general": 47, "shop-chat": 260, "shop-rest": 55}
    assert container(found, "shop-general")["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]


def test_pods_name_their_metrics_port(tmp_path: Path) -> None:
    found, _ = manifests(tmp_path, SERVICE.replace('queues = ["chat"]', 'queues = ["chat"]\nmetrics_port = 9100'))
    assert {"name": "metrics", "containerPort": 9100} in container(found, "shop-chat")["ports"]


def test_memory_limit_has_space_for_a_worker_and_its_successor(tmp_path: Path) -> None:
    limits = container(manifests(tmp_path)[0], "shop-chat")["resources"]["limits"]
    assert limits == {"memory": "1210Mi"}


def test_no_secret_is_written_and_references_are_escaped(tmp_path: Path) -> None:
    found, text = manifests(tmp_path)
    assert "hunter2" not in text
    assert found["ConfigMap", "shop-env"]["data"] == {"STAGE": 'a $HOME ${HOME} $(id) %h "b" \\ c'}
    assert {"secretRef": {"name": "shop-env"}} in container(found, "shop-chat")["envFrom"]
    assert container(found, "shop-model")["args"][-1] == '$HOME % "x" \\ $$(id)'
    assert "--from-literal=SIDELANE_STORE=redis://…" in text


def test_service_without_secrets_needs_no_secret(tmp_path: Path) -> None:
    text = f'environment.SIDELANE_STORE = "redis://db.example.com/0"\n[api.a_b]\napp = "{TICKER}:app"'
    found, written = manifests(tmp_path, text, name="x" * 40)
    assert "secretRef" not in written
    assert all(len(name) <= 63 for _, name in found)


AUTOSCALED = SERVICE.replace(
    'queues = ["chat"]\nprocesses = 2', 'queues = ["chat"]\nconcurrency = 20\nautoscale = "2..8"'
)


def test_autoscaled_group_has_a_scaled_object_that_asks_the_api(tmp_path: Path) -> None:
    app = FastAPI()
    app.include_router(Jobs(ticker.lane, user=None).scale, prefix="/internal")
    (file,) = kubernetes_files(facts(tmp_path, AUTOSCALED, application=app), None)
    found = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(file.text)}
    scaled = found["ScaledObject", "shop-chat"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "shop-chat"}
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"], scaled["cooldownPeriod"]) == (2, 8, 300)
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "metrics-api"
    assert trigger["metadata"] == {
        "url": "http://shop-general:8001/internal/scale?queue=chat&slots=20",
        "valueLocation": "desired_workers",
        "targetValue": "1",
    }
    assert "replicas" not in found["Deployment", "shop-chat"]["spec"]
    assert found["Deployment", "shop-rest"]["spec"]["replicas"] == 0
    assert ("ScaledObject", "shop-rest") not in found


def test_scaled_object_says_if_no_application_has_the_route(tmp_path: Path) -> None:
    _, text = manifests(tmp_path, AUTOSCALED)
    assert "# CHANGE THIS: no application includes `jobs.scale`" in text
