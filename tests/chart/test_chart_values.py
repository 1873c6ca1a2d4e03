"""The effect of single values, and the errors for wrong ones."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from chart.charts import CHART, ROOT, Manifest, environment, of_kind, one, rendered, template, variant
from matte_core.contracts.family import Family
from matte_core.contracts.k8s.model import ModelSpec
from matte_frontend.metrics import QUEUE_LENGTH
from matte_frontend.settings import FrontendSettings
from matte_inference.settings import InferenceSettings
from matte_operator.settings import OperatorSettings
from values import defaults_yaml, schema_json
from values_contract import ChartValues


def frontend(*arguments: str) -> tuple[Manifest, dict[str, Any]]:
    """The frontend's pod and its environment."""
    pod = one(rendered(*arguments), "Deployment", "-frontend")["spec"]["template"]["spec"]
    return pod, environment(pod["containers"][0])


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "values.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (CHART / "values.yaml").read_text() == defaults_yaml()
    assert json.loads(schema_json())["additionalProperties"] is False


def test_stream_timeout_is_applied_everywhere() -> None:
    seconds = 1234
    value = ("--set", f"streamTimeout={seconds}")
    ingress = one(rendered(*value, "--set", "expose.type=ingress"), "Ingress")["metadata"]["annotations"]
    assert ingress["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "1234"
    assert ingress["nginx.ingress.kubernetes.io/proxy-send-timeout"] == "1234"
    assert ingress["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert ingress["alb.ingress.kubernetes.io/load-balancer-attributes"] == "idle_timeout.timeout_seconds=1234"
    assert ingress["alb.ingress.kubernetes.io/target-group-attributes"] == "deregistration_delay.timeout_seconds=1234"

    routed = rendered(
        *value,
        *("--set", "expose.type=gateway", "--set", "expose.gateway.parentRefs[0].name=g"),
        *("--set", "expose.gateway.envoyGateway=true"),
    )
    (rule,) = one(routed, "HTTPRoute")["spec"]["rules"]
    assert rule["timeouts"] == {"request": "1234s", "backendRequest": "1234s"}
    policy = one(routed, "BackendTrafficPolicy")["spec"]
    assert policy["timeout"]["http"] == {"requestTimeout": "1234s", "connectionIdleTimeout": "1234s"}
    assert policy["targetRefs"][0]["name"] == one(routed, "HTTPRoute")["metadata"]["name"]

    pod, env = frontend(*value)
    assert env["MATTE_SHUTDOWN_SECONDS"] == "1234"
    assert int(env["MATTE_KEEP_ALIVE_SECONDS"]) > seconds
    assert pod["terminationGracePeriodSeconds"] > seconds + int(env["MATTE_DRAIN_SECONDS"])


SERVICE = ["r-matte-frontend", "r-matte-frontend.n", "r-matte-frontend.n.svc", "r-matte-frontend.n.svc.cluster.local"]


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ((), []),
        (("expose.host=matte.example.org",), ["matte.example.org"]),
        (("expose.type=ingress", "expose.host=*.example.org"), ["*.example.org"]),
        (("expose.type=ingress",), ["*"]),
        (("expose.allowedHosts={other.example.org,matte.lan}",), ["other.example.org", "matte.lan"]),
    ],
)
def test_allowed_hosts(values: tuple[str, ...], more: list[str]) -> None:
    given = [argument for value in values for argument in ("--set", value)]
    assert frontend(*given)[1]["MATTE_ALLOWED_HOSTS"].split(",") == SERVICE + more


def test_origins_and_proxies() -> None:
    _, env = frontend()
    assert "MATTE_ALLOWED_ORIGINS" not in env
    settings = FrontendSettings(trusted_proxies=env["MATTE_TRUSTED_PROXIES"])
    assert "10.0.0.0/8" in settings.trusted_proxies
    _, env = frontend(
        *("--set", "expose.allowedOrigins={https://app.example.org,https://*.example.com}"),
        *("--set", "expose.trustedProxies={10.42.0.0/16}"),
    )
    settings = FrontendSettings(
        allowed_origins=env["MATTE_ALLOWED_ORIGINS"], trusted_proxies=env["MATTE_TRUSTED_PROXIES"]
    )
    assert settings.allowed_origins == ("https://app.example.org", "https://*.example.com")
    assert settings.trusted_proxies == ("10.42.0.0/16",)
    assert "allowedOrigins" in template("--set", "expose.allowedOrigins={app.example.org}").stderr


def test_timeouts_stay_within_the_limits_of_the_load_balancer() -> None:
    manifests = rendered("--set", "streamTimeout=86400", "--set", "expose.type=ingress")
    annotations = one(manifests, "Ingress")["metadata"]["annotations"]
    assert annotations["alb.ingress.kubernetes.io/load-balancer-attributes"].endswith("=4000")
    assert annotations["alb.ingress.kubernetes.io/target-group-attributes"].endswith("=3600")


def test_body_size_is_derived_from_the_picture_size() -> None:
    manifests = rendered("--set", "limits.maxBytes=60000000", "--set", "expose.type=ingress")
    size = one(manifests, "Ingress")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size) > 60_000_000 * 4 / 3  # base64 in JSON
    assert frontend("--set", "limits.maxBytes=60000000")[1]["MATTE_MAX_BYTES"] == "60000000"


def test_user_annotations_take_precedence() -> None:
    key = "nginx.ingress.kubernetes.io/proxy-buffering"
    given = f"expose.ingress.annotations.{key.replace('.', chr(92) + '.')}=on"
    manifests = rendered("--set", "expose.type=ingress", "--set-string", given)
    assert one(manifests, "Ingress")["metadata"]["annotations"][key] == "on"


def test_every_environment_variable_is_read() -> None:
    env = frontend()[1]
    settings = FrontendSettings.model_validate(
        {name.removeprefix("MATTE_").lower(): value for name, value in env.items() if isinstance(value, str)}
    )
    assert settings.host == "0.0.0.0"  # pods answer on their own address
    assert settings.max_wait_seconds == 600
    assert _unread(env, set(FrontendSettings.model_fields)) == set()

    operator = one(rendered(), "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]
    inference = json.loads(environment(operator)["MATTE_INFERENCE_ENV"])
    assert _unread(inference, set(InferenceSettings.model_fields)) == set()

    assert _unread(environment(operator), set(OperatorSettings.model_fields)) == set()
    (cleanup,) = one(rendered(), "Job")["spec"]["template"]["spec"]["containers"]
    assert _unread(environment(cleanup), set(OperatorSettings.model_fields)) == set()


def test_registry_values_reach_the_workers() -> None:
    values = ("registry.secret=buckets", "registry.cache.size=100Gi", "registry.cache.claim=shared")
    arguments = [word for value in (*values, "serviceAccounts.inference=reader") for word in ("--set", value)]
    operator = one(rendered(*arguments), "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]
    env = {k.removeprefix("MATTE_").lower(): v for k, v in environment(operator).items() if isinstance(v, str)}
    release = OperatorSettings.model_validate(
        env | {"inference_env": json.loads(env["inference_env"]), "image_pull_secrets": ()}
    ).to_release()
    assert (release.models_secret, release.service_account) == ("buckets", "reader")
    assert (release.cache.size, release.cache.claim) == ("100Gi", "shared")
    done = template(*arguments, "--set", "registry.cache.hostPath=/data")
    assert "registry.cache.claim or registry.cache.hostPath, not both" in done.stderr


def test_ray_may_reach_model_sources() -> None:
    closed = ("--set", "networkPolicy.apiServer.cidr=10.0.0.1/32")
    sources = ("--set", "networkPolicy.sources.cidr=10.2.0.0/16", "--set", "networkPolicy.sources.ports={9000}")
    for arguments, cidr, port in [(closed, "0.0.0.0/0", 443), ((*closed, *sources), "10.2.0.0/16", 9000)]:
        egress = one(rendered(*arguments), "NetworkPolicy", "-inference")["spec"]["egress"]
        rule = {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": port}]}
        assert rule in egress


def _operator_settings(*arguments: str) -> OperatorSettings:
    operator = one(rendered(*arguments), "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]
    env = {k.removeprefix("MATTE_").lower(): v for k, v in environment(operator).items() if isinstance(v, str)}
    return OperatorSettings.model_validate(
        env | {"inference_env": json.loads(env["inference_env"]), "image_pull_secrets": ()}
    )


def test_the_npm_registry_reaches_the_workers_and_nobody_else() -> None:
    npm = ("--set", "registry.npm=https://npm.example.org/mirror/")
    assert _operator_settings(*npm).to_release().env["MATTE_NPM_REGISTRY"] == "https://npm.example.org/mirror/"
    assert "MATTE_NPM_REGISTRY" not in _operator_settings().to_release().env
    assert "MATTE_NPM_REGISTRY" not in frontend(*npm)[1]
    own = ("--set", "env.MATTE_NPM_REGISTRY=https://other.example.org")
    assert _operator_settings(*npm, *own).to_release().env["MATTE_NPM_REGISTRY"] == "https://other.example.org"


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://npm.example.org", None),
        ("https://npm.example.org:8443/npm/", 8443),
        ("http://npm.example.org", 80),
        ("http://npm:4873", 4873),
        ("http://[fd00::1]:4873/", 4873),
    ],
)
def test_ray_may_reach_the_npm_registry(address: str, port: int | None) -> None:
    def ports(*arguments: str) -> list[int]:
        egress = one(rendered(*arguments), "NetworkPolicy", "-inference")["spec"]["egress"]
        return [p["port"] for rule in egress if "ipBlock" in rule.get("to", [{}])[0] for p in rule["ports"]]

    more = ports("--set", f"registry.npm={address}")
    assert more == ([443, 443, 6443] if port is None else [443, port, 443, 6443])


def test_one_value_brings_isnet() -> None:
    assert [m["metadata"]["name"] for m in of_kind(rendered(), "Model")] == ["grabcut"]
    done = template("--set", "isnet.enabled=true")
    assert "registry.npm=$(npm config get registry)" in done.stderr
    enabled = ("--set", "isnet.enabled=true", "--set", "registry.npm=https://npm.example.org")
    manifests = rendered(*enabled)
    models = {m["metadata"]["name"]: ModelSpec.model_validate(m["spec"]) for m in of_kind(manifests, "Model")}
    assert models["isnet"] == ChartValues().isnet.spec
    assert (models["isnet"].family, models["isnet"].source) == (Family.ONNX, "catalog://isnet@1.0.0")
    assert models["isnet"].default
    assert {name: model.fallback for name, model in models.items()} == {"grabcut": True, "isnet": False}
    source = ("--set", "isnet.spec.source=s3://models/isnet")
    own = one(rendered("--set", "isnet.enabled=true", *source), "Model", "isnet")
    assert own["spec"]["source"] == "s3://models/isnet"
    assert of_kind(rendered("--set", "isnet.enabled=true", "--set", "registry.secret=npm"), "Model")
    done = template("--set", "isnet.enabled=true", "--set", "models.isnet.family=grabcut,models.isnet.version=1.0.0")
    assert "isnet.spec instead of models.isnet" in done.stderr


def test_cleanup_ends_before_helm_times_out() -> None:
    spec = one(rendered(), "Job")["spec"]
    seconds = int(environment(spec["template"]["spec"]["containers"][0])["MATTE_CLEANUP_SECONDS"])
    assert seconds < spec["activeDeadlineSeconds"] < 300


def _unread(env: dict[str, Any], fields: set[str]) -> set[str]:
    names = {name.removeprefix("MATTE_").lower() for name in env if name.startswith("MATTE_")}
    return names - fields


def test_tracing_is_configured_for_every_program() -> None:
    manifests = variant("monitoring")
    for name in ("frontend", "operator"):
        env = environment(one(manifests, "Deployment", f"-{name}")["spec"]["template"]["spec"]["containers"][0])
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.otel:4318"
        if name == "operator":
            assert json.loads(env["MATTE_INFERENCE_ENV"])["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.otel:4318"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in frontend()[1]


def test_redis_restarts_only_for_its_own_changes() -> None:
    before = one(rendered(), "StatefulSet")
    changed = ("--set", "images.tag=9.9.9", "--set", "streamTimeout=60", "--set", "limits.maxWaitSeconds=60")
    after = one(rendered(*changed, "--set", "frontend.replicas=5"), "StatefulSet")
    assert after["spec"] == before["spec"]
    bigger = one(rendered("--set", "redis.resources.limits.memory=2Gi"), "StatefulSet")
    assert bigger["spec"]["template"] != before["spec"]["template"]


def test_included_redis() -> None:
    manifests = rendered()
    secret = one(manifests, "Secret")["stringData"]
    assert len(secret["password"]) == 32
    assert secret["url"] == f"redis://:{secret['password']}@r-matte-redis:6379/0"
    assert secret["address"] == "r-matte-redis:6379"
    config = one(manifests, "ConfigMap")["data"]["redis.conf"]
    assert "appendonly yes" in config
    assert "maxmemory-policy noeviction" in config
    assert "appendfsync everysec" in config
    assert one(manifests, "StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"


def test_durability_reaches_redis_and_its_clients() -> None:
    before, manifests = rendered(), rendered("--set", "redis.durability=fsync")
    assert "appendfsync always" in one(manifests, "ConfigMap")["data"]["redis.conf"]
    pods = [one(found, "StatefulSet")["spec"]["template"] for found in (before, manifests)]
    assert pods[0]["metadata"] != pods[1]["metadata"]  # it restarts
    container = one(manifests, "Deployment", "-frontend")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "MATTE_DURABILITY", "value": "fsync"} in container["env"]


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("redis://10.0.0.1:6379/0", "10.0.0.1:6379", ""),
        ("redis://:pw@db:6379/1", "db:6379", "pw"),
        ("rediss://user:p@db.example.org:6380/0", "rediss://db.example.org:6380", "p"),
    ],
)
def test_external_redis(url: str, address: str, password: str) -> None:
    manifests = rendered("--set", f"redis.external.url={url}")
    assert not of_kind(manifests, "StatefulSet")
    assert one(manifests, "Secret")["stringData"] == {"url": url, "address": address, "password": password}


def test_existing_secret_for_redis() -> None:
    manifests = rendered("--set", "redis.external.existingSecret=mine")
    assert not of_kind(manifests, "StatefulSet")
    assert not of_kind(manifests, "Secret")
    operator = one(manifests, "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]
    assert environment(operator)["MATTE_REDIS_SECRET"] == "mine"
    assert (
        frontend("--set", "redis.external.existingSecret=mine")[1]["MATTE_REDIS_URL"]["secretKeyRef"]["name"] == "mine"
    )


def test_an_update_starts_new_frontends_first() -> None:
    rolling = one(rendered(), "Deployment", "-frontend")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}


def test_autoscalers_own_the_replicas() -> None:
    for kind, name in (("HorizontalPodAutoscaler", "traefik"), ("ScaledObject", "monitoring")):
        manifests = variant(name)
        deployment = one(manifests, "Deployment", "-frontend")
        assert "replicas" not in deployment["spec"]
        assert one(manifests, kind)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_scaling_reads_an_existing_metric() -> None:
    (trigger,) = one(variant("monitoring"), "ScaledObject")["spec"]["triggers"]
    assert f"max by (model) ({QUEUE_LENGTH.exported}{{" in trigger["metadata"]["query"]


def test_monitoring_installs_every_file() -> None:
    manifests = variant("monitoring")
    for folder, kind, label in (
        ("rules", "PrometheusRule", "release"),
        ("dashboards", "ConfigMap", "grafana_dashboard"),
    ):
        found = [m for m in of_kind(manifests, kind) if label in m["metadata"]["labels"]]
        assert len(found) == len(list((CHART / "files" / folder).iterdir())) > 0
    assert not of_kind(rendered(), "PodMonitor")


def test_models_and_pool_are_passed_on() -> None:
    manifests = variant("traefik")
    assert [m["metadata"]["name"] for m in of_kind(manifests, "Model")] == ["portrait"]
    assert one(manifests, "Pool")["spec"]["workers"]["gpus"] == 1
    (grabcut,) = of_kind(rendered(), "Model")
    assert grabcut["spec"] == ChartValues().models["grabcut"].model_dump(mode="json", exclude_unset=True)
    assert not of_kind(rendered("--set", "pool.enabled=false"), "Pool")


def test_cleanup_runs_before_anything_is_deleted() -> None:
    job = one(rendered(), "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["python", "-m", "matte_operator", "cleanup"]
    account = one(rendered(), "ServiceAccount", job["spec"]["template"]["spec"]["serviceAccountName"])
    assert "annotations" not in account["metadata"]  # no hook: it is there until the job is done


def test_only_clients_reach_redis() -> None:
    (rule,) = one(rendered(), "NetworkPolicy", "-redis")["spec"]["ingress"]
    who = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]]
    assert who == ["frontend", "inference", "operator"]
    assert [port["port"] for port in rule["ports"]] == [6379]


def test_the_operator_may_reach_the_sources_of_evidence() -> None:
    given = ("operator.prometheusUrl=http://prometheus.monitoring:9090", "env.MATTE_REDIS_PREFIX=mine:")
    manifests = rendered(*(argument for value in given for argument in ("--set", value)))
    operator = one(manifests, "Deployment", "-operator")["spec"]["template"]["spec"]["containers"][0]
    env = environment(operator)
    assert env["MATTE_REDIS_URL"] == {"secretKeyRef": {"name": "r-matte-redis", "key": "url"}}
    assert env["MATTE_PROMETHEUS_URL"] == "http://prometheus.monitoring:9090"
    assert env["MATTE_REDIS_PREFIX"] == "mine:"  # that of frontends and Ray's pods
    assert json.loads(env["MATTE_INFERENCE_ENV"])["MATTE_REDIS_PREFIX"] == "mine:"
    (cleanup,) = one(manifests, "Job")["spec"]["template"]["spec"]["containers"]
    assert "MATTE_REDIS_URL" not in environment(cleanup)


def test_operator_egress_is_added() -> None:
    rule = '{"to":[{"ipBlock":{"cidr":"10.1.0.0/16"}}],"ports":[{"port":9090}]}'
    egress = one(rendered("--set-json", f"networkPolicy.operatorEgress=[{rule}]"), "NetworkPolicy", "-operator")
    assert json.loads(rule) in egress["spec"]["egress"]
    redis = {"app.kubernetes.io/component": "redis"}
    peers = [peer for rule in egress["spec"]["egress"] for peer in rule.get("to", ())]
    assert any(redis.items() <= peer.get("podSelector", {}).get("matchLabels", {}).items() for peer in peers)


def test_only_its_own_pods_reach_ray() -> None:
    own, kuberay = one(rendered(), "NetworkPolicy", "-inference")["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in own["from"]] == ["inference"]
    assert {port["port"] for port in kuberay["ports"]} == {8265, 8000}
    limited = one(rendered("--set", "networkPolicy.kuberayNamespace=ray"), "NetworkPolicy", "-inference")["spec"]
    peer = limited["ingress"][1]["from"][0]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ray"}}


WRONG = [
    ("frontend.foo=1", "/frontend", "foo"),
    ("streamtimeout=1", "", "streamtimeout"),
    ("streamTimeout=abc", "/streamTimeout", "integer"),
    ("streamTimeout=5", "/streamTimeout", "30"),
    ("expose.type=route", "/expose/type", "ingress"),
    ("expose.type=gateway", "/expose/gateway/parentRefs", "minItems"),
    ("frontend.autoscaling.type=keda", "/frontend/autoscaling/keda/prometheus", "minLength"),
    ("pool.spec.workers.gpu=1", "/pool/spec/workers", "gpu"),
    ("pool.spec.workers.resources.memory=lots", "/pool/spec/workers/resources/memory", "pattern"),
    ("models.p.family=yolo", "/models/p/family", "grabcut"),
    ("models.grabcut.version=v2", "/models/grabcut/version", "pattern"),
    ("redis.external.url=http://x", "/redis/external/url", "pattern"),
    ("limits.maxWaitSeconds=5000", "limits.maxWaitSeconds", "streamTimeout"),
    ("registry.npm=npm.example.org", "/registry/npm", "pattern"),
    ("registry.npm=https://me:secret@npm.example.org", "/registry/npm", "pattern"),
    ("isnet.spec.source=isnet", "/isnet/spec/source", "pattern"),
    ("frontend.autoscaling.minReplicas=20", "frontend.autoscaling.minReplicas", "maxReplicas"),
]


@pytest.mark.parametrize(("value", "field", "word"), WRONG)
def test_errors_name_the_wrong_value(value: str, field: str, word: str) -> None:
    done = template("--set", value)
    assert done.returncode != 0
    assert field in done.stderr
    assert word in done.stderr


REAL = ("--api-versions", "apiregistration.k8s.io/v1")
OURS = ("--api-versions", "matte.dev/v1alpha1/Pool")
RAY = ("--api-versions", "ray.io/v1/RayService")


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (REAL, "helm install matte-crds"),
        (REAL + OURS, "helm install kuberay-operator"),
        ((*REAL, *OURS, *RAY, "--set", "monitoring.podMonitor.enabled=true"), "monitoring.podMonitor.enabled"),
        ((*REAL, *OURS, *RAY, "--set", "monitoring.rules.enabled=true"), "monitoring.rules.enabled"),
    ],
)
def test_missing_apis_are_reported(arguments: tuple[str, ...], fix: str) -> None:
    done = template(*arguments)
    assert done.returncode != 0
    assert fix in done.stderr


def test_a_cluster_with_all_apis() -> None:
    assert template(*REAL, *OURS, *RAY).returncode == 0
