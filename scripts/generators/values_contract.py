"""The values of the chart ``charts/matte``. ``values.yaml`` and ``values.schema.json`` are written from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from matte_core.contracts.k8s.common import KubeContract, Name, Quantity, Toleration
from matte_core.contracts.k8s.model import Family, ModelSpec
from matte_core.contracts.k8s.pool import PoolSpec
from pydantic import ConfigDict, Field

#: name of an object in Kubernetes; '' where there is none
ObjectName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
#: an image with its registry and tag or digest; '' for the one of the release
ImageName = Annotated[str, Field(pattern=r"^([^\s:@]+(:[0-9]+/[^\s:@]+)?([:@][^\s]+)?)?$", max_length=512)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
#: an address or a CIDR
Network = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$")]
#: what requests may name as their host
HostName = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)$", max_length=253)]
#: of a page, as browsers write it
Origin = Annotated[str, Field(pattern=r"^(\*|null|https?://(\*\.)?[^\s,/@*]+)$", max_length=512)]
Port = Annotated[int, Field(ge=1, le=65535)]
Labels = dict[str, str]
#: passed on as it is; the API server knows its shape
Raw = dict[str, Any]


def _needs(selector: str, value: str, path: list[str], rule: dict[str, Any]) -> dict[str, Any]:
    """JSON schema: where ``selector`` is ``value``, the field at ``path`` obeys ``rule``."""
    then: dict[str, Any] = rule
    for name in reversed(path):
        then = {"properties": {name: then}, "required": [name]}
    return {"if": {"properties": {selector: {"const": value}}, "required": [selector]}, "then": then}


class Section(KubeContract):
    """A part of the values; each of its fields says what it is."""


class Resources(KubeContract):
    """core/v1 ResourceRequirements."""

    requests: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = {}
    limits: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = {}


class Images(Section):
    """Where the images come from."""

    registry: str = Field(
        "ghcr.io/matte-dev", min_length=1, description="frontend, inference and operator are below it"
    )
    tag: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,128}$", description="tag of all three; '': the chart's appVersion")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field("IfNotPresent", description="of all containers")
    pull_secrets: tuple[ObjectName, ...] = Field((), description="names of registry Secrets in the namespace")
    frontend: ImageName = Field("", description="another image for the frontend, with its tag or digest")
    inference: ImageName = Field("", description="another image for Ray's pods, such as the one with CUDA")
    operator: ImageName = Field("", description="another image for the operator")
    redis: ImageName = Field("docker.io/library/redis:7.2-bookworm", description="Redis or Valkey 7 or newer")


class Ingress(Section):
    """For ``expose.type: ingress``."""

    class_name: ObjectName = Field("", description="IngressClass; '': the cluster's default one")
    tls_secret: ObjectName = Field("", description="Secret with the certificate of the host; '': no TLS here")
    annotations: Labels = Field({}, description="added to those that the chart sets; the same key wins")


class ParentRef(KubeContract):
    """gateway.networking.k8s.io/v1 ParentReference: a listener that exists."""

    name: Annotated[ObjectName, Field(min_length=1)]
    namespace: ObjectName | None = None
    section_name: str | None = None
    port: Port | None = None


class GatewayApi(Section):
    """For ``expose.type: gateway``."""

    parent_refs: tuple[ParentRef, ...] = Field((), description="the Gateways to attach to: [{name, namespace}]")
    envoy_gateway: bool = Field(
        default=False, description="the Gateway is Envoy Gateway's: set its BackendTrafficPolicy too"
    )


class Expose(Section):
    """How end users reach the frontends."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_needs("type", "gateway", ["gateway", "parentRefs"], {"minItems": 1})]}
    )

    type: Literal["none", "ingress", "gateway"] = Field(
        "none", description="none: only the Service; ingress: an Ingress; gateway: a Gateway API HTTPRoute"
    )
    host: str = Field(
        "", pattern=r"^(\*\.)?([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", description="host name of the URL; '': every host"
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        (),
        description="further host names that requests may name, *.example.org for all below one, * for any. Always: "
        "host, the Service's names, IP addresses and localhost; any, if type is not none and host is ''",
    )
    allowed_origins: tuple[Origin, ...] = Field(
        (),
        description="origins of other sites whose pages may call this one: https://app.example.org, "
        "https://*.example.org, * for any without credentials",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
        description="addresses whose Forwarded and X-Forwarded-… headers are believed, and whose connections are not "
        "counted per address: the ingress controller's. The default is where pods usually are; narrow it to yours",
    )
    ingress: Ingress = Field(Ingress(), description="for type ingress")
    gateway: GatewayApi = Field(GatewayApi(), description="for type gateway")


class Limits(Section):
    """What is accepted. Body sizes of the ingress follow."""

    max_bytes: int = Field(
        30_000_000, ge=1, le=1_000_000_000, description="bytes of one picture, and of all pictures of one request"
    )
    max_pixels: int = Field(50_000_000, ge=1, description="width × height of one picture")
    max_wait_seconds: int = Field(
        600, ge=1, le=86400, description="a synchronous call waits at most this long; not above streamTimeout"
    )


class Scheduling(Section):
    """Where pods may run."""

    node_selector: Labels = Field({}, description="labels that nodes must have")
    tolerations: tuple[Toleration, ...] = Field((), description="taints of nodes to bear")
    affinity: Raw = Field({}, description="core/v1 Affinity")
    priority_class_name: ObjectName = Field("", description="PriorityClass of the pods")
    pod_annotations: Labels = Field({}, description="annotations of the pods")


class Keda(Section):
    """Scaling by the number of queued jobs, read from Prometheus."""

    prometheus: str = Field("", description="address of Prometheus, such as http://prometheus.monitoring:9090")
    queued_jobs_per_replica: int = Field(500, ge=1, description="one frontend per so many queued jobs")


class Autoscaling(Section):
    """How many frontends there are."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_needs("type", "keda", ["keda", "prometheus"], {"minLength": 8})]}
    )

    type: Literal["none", "cpu", "keda"] = Field(
        "none", description="none: frontend.replicas; cpu: an HPA; keda: a KEDA ScaledObject on queue depth"
    )
    min_replicas: int = Field(2, ge=1, le=1000, description="frontends at least")
    max_replicas: int = Field(10, ge=1, le=1000, description="frontends at most")
    cpu_utilization: int = Field(70, ge=1, le=1000, description="for cpu: per cent of the request, on average")
    keda: Keda = Field(Keda(), description="for keda")


class Frontend(Scheduling):
    """The pods that speak HTTP."""

    replicas: int = Field(2, ge=0, le=1000, description="pods, while autoscaling.type is none")
    resources: Resources = Field(
        Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "1Gi"}), description="of each pod"
    )
    drain_seconds: int = Field(
        15, ge=0, le=600, description="a pod that ends takes requests this long, until every balancer has noticed"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="what is logged")
    autoscaling: Autoscaling = Field(Autoscaling(), description="how many frontends there are")
    disruption_budget: bool = Field(default=True, description="drains of nodes take one frontend at a time")


class Operator(Scheduling):
    """The program that turns Pools and Models into Ray clusters."""

    resources: Resources = Field(
        Resources(requests={"cpu": "100m", "memory": "192Mi"}, limits={"memory": "384Mi"}), description="of its pod"
    )
    prometheus_url: str = Field(
        "",
        pattern=r"^(https?://[^\s@]+)?$",
        description="answers the queries that rollouts are judged by, such as http://prometheus.monitoring:9090",
    )


class Pool(Section):
    """The Pool ``default``."""

    enabled: bool = Field(default=True, description="make the Pool; no: you apply Pools of your own")
    spec: PoolSpec = Field(PoolSpec(), description="spec of the Pool: kubectl explain pool.spec")


class Cache(Section):
    """Where Ray's workers keep model versions. At most one of claim and hostPath; none: a volume of each worker's."""

    size: str = Field(
        "20Gi",
        pattern=r"^[0-9]+(\.[0-9]+)?[MGT]i?$",
        description="of the volume; versions that were used longest ago make room",
    )
    claim: ObjectName = Field(
        "", description="PersistentVolumeClaim instead, of a file system with locks; shared by workers if ReadWriteMany"
    )
    host_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._/-]+)?$",
        description="folder of the nodes instead, shared by a node's workers: it must be there, writable for user "
        "10001, in a namespace whose Pod Security allows it (privileged)",
    )


class Registry(Section):
    """Where models come from: s3://, gs://, hf://, oci://, mlflow://, pvc:// and file://."""

    secret: ObjectName = Field(
        "",
        description="Secret whose keys become the environment of Ray's workers: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, HF_TOKEN, MLFLOW_TRACKING_TOKEN, …",
    )
    cache: Cache = Field(Cache(), description="where workers keep models")


class ExternalRedis(Section):
    """A Redis or Valkey that is there already: no instance is installed. Set one of the two."""

    url: str = Field(
        "",
        pattern=r"^(rediss?://[^\s]+)?$",
        description="redis://:password@host:6379/0, or rediss://… with TLS; for Ray the default user",
    )
    existing_secret: ObjectName = Field(
        "", description="Secret with the keys url, address (host:port; rediss://host:port with TLS) and password"
    )


class Persistence(Section):
    """Where the jobs of the included Redis lie."""

    enabled: bool = Field(default=True, description="keep jobs on a volume; no: they end with the pod")
    size: Quantity = Field("8Gi", description="of the volume")
    storage_class: ObjectName | None = Field(
        None, description="StorageClass; null: the cluster's default; '': volumes made by hand"
    )
    when_deleted: Literal["Retain", "Delete"] = Field("Retain", description="the volume claim after helm uninstall")


class Redis(Scheduling):
    """The job store: one small persistent instance, or an external one."""

    external: ExternalRedis = Field(ExternalRedis(), description="a server that is there already, for production")
    existing_secret: ObjectName = Field(
        "",
        description="Secret with the keys url, address and password for the included instance; '': the chart makes "
        "one and keeps its password (needs helm install; helm template piped to kubectl makes a new one each time)",
    )
    resources: Resources = Field(
        Resources(requests={"cpu": "100m", "memory": "1Gi"}, limits={"memory": "1Gi"}),
        description="of the included instance; jobs may fill three quarters of the memory limit",
    )
    persistence: Persistence = Field(Persistence(), description="where the jobs lie")
    durability: Literal["fsync", "second"] = Field(
        "second",
        description="what a power failure may take: second: the last second or so; fsync: nothing, and slower. "
        "An external server has its own appendfsync",
    )


class Egress(Section):
    """Addresses that pods may call."""

    cidr: Cidr = Field("0.0.0.0/0", description="addresses")
    ports: tuple[Port, ...] = Field((), description="TCP ports")


class NetworkPolicy(Section):
    """Who may talk to whom. Everything that is not named is refused."""

    enabled: bool = Field(default=True, description="make NetworkPolicies")
    clients: tuple[Raw, ...] = Field(
        (), description="NetworkPolicyPeers that may call the frontends, such as the ingress controller's; []: everyone"
    )
    metrics_clients: tuple[Raw, ...] = Field(
        (),
        description="NetworkPolicyPeers that may read metrics; []: everyone if monitoring.podMonitor, else nobody",
    )
    kuberay_labels: Labels = Field(
        {"app.kubernetes.io/component": "kuberay-operator"}, description="labels of KubeRay's operator pods"
    )
    kuberay_namespace: ObjectName = Field("", description="their namespace; '': any")
    sources: Egress = Field(Egress(ports=(443,)), description="where models come from: buckets, hubs, registries")
    api_server: Egress = Field(Egress(ports=(443, 6443)), description="the Kubernetes API")
    external_redis: Egress = Field(Egress(ports=(6379,)), description="the external Redis")
    telemetry_ports: tuple[Port, ...] = Field((4317, 4318), description="ports of the OpenTelemetry collector")
    frontend_egress: tuple[Raw, ...] = Field(
        (), description="NetworkPolicyEgressRules of frontends, such as an object store's"
    )
    operator_egress: tuple[Raw, ...] = Field(
        (), description="NetworkPolicyEgressRules of the operator: Prometheus, and webhooks that judge rollouts"
    )
    inference_egress: tuple[Raw, ...] = Field(
        (), description="NetworkPolicyEgressRules of Ray's pods: object store, and the backends of remote models"
    )


class PodMonitor(Section):
    """monitoring.coreos.com/v1 PodMonitor."""

    enabled: bool = Field(default=False, description="let the Prometheus operator read every pod's metrics")
    interval: str = Field("30s", pattern=r"^[0-9]+(s|m)$", description="how often")
    labels: Labels = Field({}, description="labels that your Prometheus selects by")


class Rules(Section):
    """monitoring.coreos.com/v1 PrometheusRule."""

    enabled: bool = Field(default=False, description="install the alert rules")
    labels: Labels = Field({}, description="labels that your Prometheus selects by")


class Dashboards(Section):
    """ConfigMaps that Grafana's sidecar finds."""

    enabled: bool = Field(default=False, description="install the Grafana dashboards")
    labels: Labels = Field({"grafana_dashboard": "1"}, description="labels that Grafana's sidecar selects by")


class Monitoring(Section):
    """Metrics, dashboards and alerts; all need something that is installed beside."""

    pod_monitor: PodMonitor = Field(PodMonitor(), description="metrics by the Prometheus operator")
    rules: Rules = Field(Rules(), description="alert rules")
    dashboards: Dashboards = Field(Dashboards(), description="Grafana dashboards")


class Traces(Section):
    """OpenTelemetry."""

    endpoint: str = Field(
        "", pattern=r"^(https?://[^\s]+)?$", description="OTLP address, such as http://collector.otel:4318; '': none"
    )
    ratio: float = Field(1.0, ge=0, le=1, description="share of requests without a trace of their own that get one")


class ServiceAccounts(Section):
    """Identities of the pods."""

    annotations: Labels = Field({}, description="of the frontend's ServiceAccount, such as a cloud role")
    inference: ObjectName = Field(
        "",
        description="ServiceAccount that is there, for Ray's workers: one with a cloud role that may read models",
    )


class ChartValues(KubeContract):
    """Everything that can be set at ``helm install``. A name that nobody knows is refused."""

    name_override: ObjectName = Field("", description="instead of the chart's name in object names")
    fullname_override: Annotated[ObjectName, Field(max_length=40)] = Field(
        "", description="begin of all object names; matte-crds lets an operator in whose name ends with matte-operator"
    )
    common_labels: Labels = Field({}, description="labels of every object")
    common_annotations: Labels = Field({}, description="annotations of every object")
    images: Images = Field(Images(), description="where the images come from")
    stream_timeout: int = Field(
        3600,
        ge=30,
        le=86400,
        description="seconds that one answer or event stream may take: sets the ingress, the route, the load balancer, "
        "and how long a frontend that ends lets its streams finish",
    )
    expose: Expose = Field(Expose(), description="how end users reach the frontends")
    limits: Limits = Field(Limits(), description="what is accepted; the ingress' body size follows")
    env: dict[EnvName, str] = Field(
        {}, description="further environment of frontends and Ray's pods: MATTE_BLOB_URL, MATTE_RESULT_TTL_SECONDS …"
    )
    frontend: Frontend = Field(Frontend(), description="the pods that speak HTTP")
    operator: Operator = Field(Operator(), description="the program that turns Pools and Models into Ray clusters")
    pool: Pool = Field(Pool(), description="the Pool named default")
    models: dict[Name, ModelSpec] = Field(
        {"grabcut": ModelSpec(family=Family.GRABCUT, version="2.0.0", default=True)},
        description="Models by name: kubectl explain model.spec; NAME: null removes one that is set here",
    )
    registry: Registry = Field(Registry(), description="where models come from")
    redis: Redis = Field(Redis(), description="the job store")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="who may talk to whom")
    monitoring: Monitoring = Field(Monitoring(), description="metrics, dashboards and alerts")
    traces: Traces = Field(Traces(), description="OpenTelemetry")
    service_accounts: ServiceAccounts = Field(ServiceAccounts(), description="identities of the pods")
    global_: Raw = Field({}, alias="global", description="from a parent chart; not read")
