"""Kubernetes: a deployment for each group, services for those that listen, and disruption budgets."""

import math
from collections.abc import Iterator, Mapping

from sidelane.model.sizes import size_of
from sidelane.ops.deploy.compose import ROOT
from sidelane.ops.deploy.facts import (
    STORE,
    DeployFile,
    ServiceFacts,
    duration_text,
    is_local_store,
    names_this_machine,
)
from sidelane.ops.deploy.yaml_text import comment, flow, scalar
from sidelane.ops.groups import ApiGroup, CommandGroup, Group, WorkerGroup
from sidelane.ops.programs import Program
from sidelane.sizing.scaling import Bounds
from sidelane.web.routes import routes_of

MIB = 2**20

ENDPOINTS_DELAY = 5
"""Seconds between the start of a pod's end and SIGTERM, in which the cluster removes the pod from its services."""

PROBE_PERIOD = 5

BASE_MEMORY = 256 * MIB
"""Memory of the parent and its first process before any job, generously."""

MAX_NAME = 63
"""Characters of a name in Kubernetes."""

SCALE_DOWN_WINDOW = 300
"""Seconds for which fewer pods must be enough before any stops."""


def kubernetes_files(service: ServiceFacts, image: str | None) -> list[DeployFile]:
    """Return the manifests in one file."""
    return [DeployFile(f"{service.name}.yaml", _Manifests(service, image or f"{service.name}:latest").text())]


class _Manifests:
    def __init__(self, service: ServiceFacts, image: str) -> None:
        self._service = service
        self._image = image
        self._groups = service.description.groups
        # one process in each pod: replicas are the number of processes, and a lack of memory ends one process
        self._programs = service.container_programs(processes=1)
        self._secret = f"{service.name}-env"
        variables = [service.variables(), *map(service.variables, self._groups.values())]
        self._has_secret = bool(
            any(each.secret for each in variables)
            or service.description.env_file
            or is_local_store(service.settings.store)
        )

    def text(self) -> str:
        documents = [self._head(), self._configuration()]
        for name, group in self._groups.items():
            documents.append(self._deployment(name, group))
            if (program := self._programs[name]).address is not None:
                documents.append(self._kubernetes_service(name, program))
            if not isinstance(group, CommandGroup):
                documents.append(self._budget(name))
            if isinstance(group, WorkerGroup) and group.bounds is not None:
                documents.append(self._scaled_object(name, group.bounds))
        return "---\n".join(documents)

    def _head(self) -> str:
        return f"""\
# Kubernetes manifests for {self._service.name}, written by `sidelane deploy kubernetes` from {comment(self._service.source)}.
# Commit this file and change it as you need. Apply it with `kubectl apply -f`.
{"".join(f"# {line}".rstrip() + chr(10) for line in self._about_secrets())}\
#
# Restart without a gap:  kubectl rollout restart deployment/{self._service.name}-NAME
# Each new pod must be ready before an old one stops, and an old worker ends its jobs first (terminationGracePeriodSeconds).
#
# Memory: since Kubernetes 1.28 (cgroup v2), the kernel ends all processes of a container if one of them takes too much memory,
# also the parent, which could have told the store. Its jobs run again when their leases expire. Let max_memory replace a worker
# before it reaches the limit, and keep one process in each pod.
"""

    def _about_secrets(self) -> Iterator[str]:
        if not self._has_secret:
            return
        file = self._service.description.env_file
        names = dict.fromkeys(
            name for group in (None, *self._groups.values()) for name in self._service.variables(group).secret
        )
        literals = [f"--from-literal={name}=…" for name in names]
        yield ""
        if is_local_store(self._service.settings.store):
            yield "The store of the description is on one machine. Pods cannot share it: put the URL of a Redis into the secret."
            literals = [literal for literal in literals if not literal.startswith(f"--from-literal={STORE}=")]
            literals.insert(0, f"--from-literal={STORE}=redis://…")
        yield f"Secrets, and the variables of env_file, are in the secret {self._secret}, which is not written here:"
        source = f"--from-env-file={comment(file)}" if file and not literals else " ".join(literals)
        yield f"    kubectl create secret generic {self._secret} {source}"
        if file and literals:
            yield f"with the variables of {comment(file)} added in the same way."

    def _configuration(self) -> str:
        public = dict(self._service.variables().public)
        if is_local_store(public.get(STORE, "")):
            public.pop(STORE, None)
        lines = list(_public(public, "  "))
        return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {self._secret}
  labels: {{app.kubernetes.io/part-of: {self._service.name}}}
data:{"" if lines else " {}"}
{"".join(f"{line}{chr(10)}" for line in lines)}"""

    def _deployment(self, name: str, group: Group) -> str:
        program, full = self._programs[name], self._full(name)
        processes = "one process each" if group.kind != "command" else "one process"
        replicas = group.processes if isinstance(group, ApiGroup | WorkerGroup) else 1
        count = f"  replicas: {replicas if group.autostart else 0}  # {processes}\n"
        if isinstance(group, WorkerGroup) and group.autoscale is not None:
            count = "  # no replicas: KEDA sets their number (see the ScaledObject below)\n"
        roll = (
            "  strategy: {type: Recreate}  # this group cannot run twice\n"
            if program.command.count("--stop-first")
            else "  strategy:\n    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}  # a new pod is ready before an old one stops\n"
        )
        drain = self._service.drain_seconds(name)
        grace = self._service.grace_seconds(name) + (ENDPOINTS_DELAY if program.address else 0)
        command = [part.replace("$(", "$$(") for part in self._command(program)]
        return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {full}
  labels: {self._labels(name)}
spec:
{count}\
{roll}\
  selector:
    matchLabels: {self._labels(name)}
  template:
    metadata:
      labels: {self._labels(name)}
    spec:
      # Jobs and requests may take up to {duration_text(drain)} to end. After this time the pod is killed.
      terminationGracePeriodSeconds: {grace}
      enableServiceLinks: false  # the variables of other services could be taken for settings
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        fsGroup: 10001
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: {name.lower().replace("_", "-")}
          image: {scalar(self._image)}
          # The entry point of the image is tini, which reaps orphaned processes.
          args: {flow(command)}
{"".join(f"{line}{chr(10)}" for line in self._container(program, group))}\
      volumes:
        - name: tmp
          emptyDir: {{}}
        - name: files  # CHANGE THIS to a claim that all pods can write (ReadWriteMany), or set SIDELANE_FILE_STORAGE=s3://…
          emptyDir: {{}}
"""

    def _command(self, program: Program) -> list[str]:
        if program.health is None:
            return list(program.command)
        return [*program.command, "--health-host", "0.0.0.0"]  # noqa: S104 # nosec B104 - probes come from outside the pod

    def _container(self, program: Program, group: Group) -> Iterator[str]:
        directory = self._service.container_directory(group, ROOT)
        if directory:
            yield f"          workingDir: {scalar(directory)}"
        yield "          envFrom:"
        yield f"            - configMapRef: {{name: {self._secret}}}"
        if self._has_secret:
            yield f"            - secretRef: {{name: {self._secret}}}"
        own = self._service.variables(group).public
        if own:
            yield "          env:"
            for name, value in own.items():
                yield f"            - name: {scalar(name)}"
                yield f"              value: {scalar(value.replace('$(', '$$('))}"
        if program.address or program.health:
            yield "          ports:"
        if program.address:
            yield f"            - {{name: http, containerPort: {program.address[1]}}}"
        if program.health:
            yield f"            - {{name: health, containerPort: {program.health[1]}}}"
        if isinstance(group, ApiGroup | WorkerGroup) and group.metrics_port is not None:
            yield f"            - {{name: metrics, containerPort: {group.metrics_port}}}"
        yield from self._probes(program)
        if program.address:
            yield "          lifecycle:"
            yield "            preStop:  # a service may send requests to this pod a little longer; after SIGTERM they are refused"
            yield f'              exec: {{command: [sleep, "{ENDPOINTS_DELAY}"]}}'
        yield from _resources(group)
        yield "          securityContext:"
        yield "            allowPrivilegeEscalation: false"
        yield "            readOnlyRootFilesystem: true"
        yield "            capabilities: {drop: [ALL]}"
        yield "          volumeMounts:"
        yield "            - {name: tmp, mountPath: /tmp}"
        yield f"            - {{name: files, mountPath: {ROOT}/sidelane-files}}"

    def _probes(self, program: Program) -> Iterator[str]:
        if program.health is None:
            if program.address is not None:
                yield f"          readinessProbe: {{tcpSocket: {{port: http}}, periodSeconds: {PROBE_PERIOD}}}"
            return
        failures = math.ceil(program.ready_timeout / PROBE_PERIOD)
        yield "          # live: an event loop turns. ready: a process can work now, which for a worker needs the store."
        yield "          # An outage of the store must restart no pod, so only readiness depends on it."
        yield f"          startupProbe: {_probe('live', failures)}"
        yield f"          livenessProbe: {_probe('live', 6)}"
        yield f"          readinessProbe: {_probe('ready', 2)}"

    def _kubernetes_service(self, name: str, program: Program) -> str:
        port = program.address[1] if program.address else 0
        return f"""\
apiVersion: v1
kind: Service
metadata:
  name: {self._full(name)}
  labels: {self._labels(name)}
spec:
  selector: {self._labels(name)}
  ports:
    - {{name: http, port: {port}, targetPort: http}}
"""

    def _budget(self, name: str) -> str:
        return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {self._full(name)}
  labels: {self._labels(name)}
spec:
  maxUnavailable: 1  # minAvailable: 1 would block the drain of a node while there is one replica
  selector:
    matchLabels: {self._labels(name)}
"""

    def _scaled_object(self, name: str, bounds: Bounds) -> str:
        queues = "&".join(f"queue={queue}" for queue in self._service.queues_of(name))
        return f"""\
# KEDA asks the API how many pods the load of these queues wants. While there is no answer, the number stays. Each pod ends its jobs
# before it stops. This needs KEDA in the cluster.
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {self._full(name)}
  labels: {self._labels(name)}
spec:
  scaleTargetRef: {{name: {self._full(name)}}}
  minReplicaCount: {bounds.least}  # 0 is possible too: the first job starts a pod
  maxReplicaCount: {bounds.most}
  cooldownPeriod: {SCALE_DOWN_WINDOW}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{scaleDown: {{stabilizationWindowSeconds: {SCALE_DOWN_WINDOW}}}}}
  triggers:
    - type: metrics-api
      metadata:
{self._scale_url(f"?{queues}&slots={self._service.slots_of(name)}")}\
        valueLocation: desired_workers
        targetValue: "1"
"""

    def _scale_url(self, query: str) -> str:
        """Return the line with the URL of the route for scaling, which an application of the service may include."""
        for api, group in self._service.api_groups.items():
            for route in routes_of(self._service.applications.get(group.app)):
                if route.kind == "scale":
                    return f"        url: {scalar(f'http://{self._full(api)}:{group.port}{route.path}{query}')}\n"
        return (
            "        # CHANGE THIS: no application includes `jobs.scale`, which answers at this URL\n"
            f"        url: {scalar(f'http://{self._service.name}-api/scale{query}')}\n"
        )

    def _full(self, name: str) -> str:
        return f"{self._service.name}-{name.lower().replace('_', '-')}"[:MAX_NAME].strip("-")

    def _labels(self, name: str) -> str:
        return f"{{app.kubernetes.io/part-of: {self._service.name}, app.kubernetes.io/name: {self._full(name)}}}"


def _probe(path: str, failures: int) -> str:
    return (
        f"{{httpGet: {{path: /health/{path}, port: health}}, periodSeconds: {PROBE_PERIOD}, timeoutSeconds: 3, "
        f"failureThreshold: {failures}}}"
    )


def _resources(group: Group) -> Iterator[str]:
    yield "          resources:  # CHANGE THIS to what you measure"
    yield "            requests: {cpu: 250m, memory: 256Mi}"
    if isinstance(group, WorkerGroup) and group.max_memory is not None:
        # while a worker is replaced, the old one and its successor run
        limit = math.ceil((2 * size_of(group.max_memory) + BASE_MEMORY) / MIB)
        yield f"            limits: {{memory: {limit}Mi}}  # a worker and its successor ({group.max_memory} each), and 256Mi"
    else:
        yield "            limits: {memory: 1Gi}"


def _public(public: Mapping[str, str], indent: str) -> Iterator[str]:
    for name, value in public.items():
        if names_this_machine(value):
            yield f"{indent}# CHANGE THIS: in a pod, localhost is the pod. Other pods have the names of their services."
        yield f"{indent}{scalar(name)}: {scalar(value)}"
