import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from matte_core.contracts.catalog import Arm, Route, RouteTable, VersionConfig, app_name
from matte_core.contracts.k8s.common import ComputeResources
from matte_core.contracts.k8s.model import ModelVersionSpec
from matte_core.contracts.k8s.pool import PoolSpec
from matte_core.contracts.ray_environment import POD_ENVIRONMENT
from matte_operator.domain.names import model_version_name
from matte_operator.render.pods import CacheVolume, Release, whole_cpus
from matte_operator.render.rayservice import disruption_budget, ray_service, serve_config, version_config
from matte_registry.settings import RegistrySettings

RELEASE = Release("ns", "matte", "inference:1", "matte-redis", pull_secrets=("pull",), env={"MATTE_MAX_BYTES": "1"})
EMPTY = serve_config([], RouteTable())
FULL = PoolSpec.model_validate(
    {
        "image": "inference:cuda",
        "workers": {
            "minReplicas": 1,
            "maxReplicas": 4,
            "gpus": 2,
            "resources": {"cpu": "1500m", "memory": "8Gi", "cpuLimit": "3500m"},
            "sharedMemory": "2Gi",
            "nodeSelector": {"gpu": "a100"},
            "tolerations": [{"key": "team", "operator": "Equal", "value": "vision"}],
            "runtimeClassName": "nvidia",
        },
        "weights": {"claimName": "models"},
    }
)


def version(**values: Any) -> ModelVersionSpec:
    return ModelVersionSpec.model_validate({"model": "portrait", "version": "1.0.0", "family": "grabcut", **values})


def cluster(spec: PoolSpec) -> dict[str, Any]:
    config: dict[str, Any] = ray_service(RELEASE, "p", spec, EMPTY)["spec"]["rayClusterConfig"]
    return config


def pods(spec: PoolSpec) -> list[dict[str, Any]]:
    found = cluster(spec)
    return [found["headGroupSpec"]["template"]["spec"], found["workerGroupSpecs"][0]["template"]["spec"]]


# --- serve config -------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_text() -> None:
    one, two = version(), version(version="2.0.0")
    assert serve_config([one, two], RouteTable()) == serve_config([two, one], RouteTable())


def test_the_router_starts_with_an_empty_table() -> None:
    (router,) = json.loads(EMPTY)["applications"]
    assert RouteTable.model_validate(router["deployments"][0]["user_config"]) == RouteTable()


def test_traffic_changes_nothing_but_the_table() -> None:
    route = Route(model="portrait", arms=(Arm(version="1.0.0", weight=100),))
    before = json.loads(serve_config([version()], RouteTable()))
    after = json.loads(serve_config([version()], RouteTable(default_model="portrait", routes=(route,))))
    before["applications"][0]["deployments"] = after["applications"][0]["deployments"]
    assert before == after


def test_scaling_changes_no_args_so_that_no_replica_restarts() -> None:
    one, three = (json.loads(serve_config([version(replicas=n)], RouteTable()))["applications"][1] for n in (1, 3))
    assert one["args"] == three["args"]
    assert [app["deployments"][0]["num_replicas"] for app in (one, three)] == [1, 3]


def test_args_are_what_inference_reads() -> None:
    spec = version(family="unet", source="file:///models/p", slots=4, threads=2, batching={"maxSize": 3}, license="MIT")
    app = json.loads(serve_config([spec], RouteTable()))["applications"][1]
    config = VersionConfig.model_validate(app["args"])
    assert config == version_config(spec)
    assert (config.slots, config.threads, config.max_batch_size, config.license) == (4, 2, 3, "MIT")
    assert app["name"] == config.app == "portrait-1-0-0"


def test_what_is_pinned_reaches_the_replica() -> None:
    pin = "sha256:" + "7" * 64
    pinned = version(family="unet", source="s3://models/p/1.0.0", digest=pin)
    app = json.loads(serve_config([pinned], RouteTable()))["applications"][1]
    assert (app["args"]["source"], app["args"]["digest"]) == ("s3://models/p/1.0.0", pin)
    assert "digest" not in json.loads(serve_config([version()], RouteTable()))["applications"][1]["args"]


def test_a_remote_model_is_of_the_family_gradio() -> None:
    spec = version(family=None, remote={"gradio": {"url": "http://there/"}}, parameters={"timeout_seconds": 5})
    config = version_config(spec)
    assert config.family == "gradio"
    assert config.parameters == {"timeout_seconds": 5, "url": "http://there/", "api_name": "/remove_background"}


@pytest.mark.parametrize(
    ("version_", "name"),
    [("1.2.3", "portrait-1-2-3"), ("1.0.0-rc.1+b7", "portrait-1-0-0-rc-1-b7")],
)
def test_names(version_: str, name: str) -> None:
    assert model_version_name("portrait", version_) == name == app_name("portrait", version_)


def test_a_name_that_is_no_label_gets_a_hash() -> None:
    upper, lower = model_version_name("portrait", "1.0.0-RC"), model_version_name("portrait", "1.0.0-rc")
    assert upper != lower
    assert upper.startswith("portrait-1-0-0-rc-")
    assert len(model_version_name("m" * 40, "1.0.0-" + "a" * 50)) <= 63


# --- the RayService -----------------------------------------------------------------------------------------------


def test_a_new_serve_config_touches_nothing_else() -> None:
    one, two = ray_service(RELEASE, "p", FULL, "a"), ray_service(RELEASE, "p", FULL, "b")
    two["spec"]["serveConfigV2"] = "a"
    assert one == two


def test_the_head_takes_no_work() -> None:
    found = cluster(FULL)
    assert found["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert ray_service(RELEASE, "p", FULL, EMPTY)["spec"]["excludeHeadPodFromServeSvc"] is True
    serving = [p for p in pods(FULL)[0]["containers"][0]["ports"] if p["name"] == "serve"]
    assert serving  # KubeRay makes no RayService without it, and is never ready without the RayService


@pytest.mark.parametrize("pod", pods(FULL) + pods(PoolSpec()))
def test_pods_are_restricted(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/tmp", "/dev/shm"} <= mounted
    assert container["livenessProbe"]["httpGet"]["port"] == 52365  # not the Serve proxy, which is off
    assert pod["terminationGracePeriodSeconds"] >= 15


@pytest.mark.parametrize("pod", pods(FULL))
def test_redis_is_given_by_reference(pod: dict[str, Any]) -> None:
    env = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert env["MATTE_REDIS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "matte-redis", "key": "url"}
    assert env["MATTE_POOL"]["value"] == "p"
    assert env["MATTE_MAX_BYTES"]["value"] == "1"
    assert {name: env[name]["value"] for name in POD_ENVIRONMENT} == dict(POD_ENVIRONMENT)
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_fault_tolerance_and_auth() -> None:
    found = cluster(FULL)
    assert found["authOptions"] == {"mode": "token"}
    assert "gcsFaultToleranceOptions" not in found  # their finalizer blocks the deletion of a namespace
    head, worker = (pod["containers"][0] for pod in pods(FULL))
    (command,) = head["command"]
    env = {each["name"]: each for each in head["env"]}
    for name in re.findall(r"\$(\w+)", command + found["headGroupSpec"]["rayStartParams"]["redis-password"]):
        assert "valueFrom" in env[name]
    assert "RAY_REDIS_ADDRESS" not in env  # KubeRay refuses it there
    assert "command" not in worker
    assert "RAY_gcs_rpc_server_reconnect_timeout_s" in {each["name"] for each in worker["env"]}


def test_workers_follow_the_contract() -> None:
    group = cluster(FULL)["workerGroupSpecs"][0]
    pod = pods(FULL)[1]
    container = pod["containers"][0]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (1, 1, 4)
    assert group["rayStartParams"]["num-gpus"] == "2"
    assert group["rayStartParams"]["num-cpus"] == "4"
    assert int(group["rayStartParams"]["object-store-memory"]) < 2 * 2**30
    assert container["image"] == "inference:cuda"
    assert container["resources"] == {
        "requests": {"cpu": "1500m", "memory": "8Gi", "nvidia.com/gpu": "2"},
        "limits": {"cpu": "3500m", "memory": "8Gi", "nvidia.com/gpu": "2"},
    }
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["runtimeClassName"] == "nvidia"
    assert {t.get("key") for t in pod["tolerations"]} == {"team", "nvidia.com/gpu"}
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["volumes"]


def test_weights_are_mounted_only_with_a_claim_and_read_only() -> None:
    pod = pods(FULL)[1]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert all(volume["name"] != "weights" for volume in pods(FULL)[0]["volumes"] + pods(PoolSpec())[1]["volumes"])


def test_weights_come_from_an_image_where_the_pool_names_one() -> None:
    spec = PoolSpec.model_validate({"weights": {"image": "registry.example.org/models:1", "mountPath": "/w"}})
    pod, container, env = worker(RELEASE, spec)
    source = {"reference": "registry.example.org/models:1", "pullPolicy": "IfNotPresent"}
    assert {"name": "weights", "image": source} in pod["volumes"]
    assert {"name": "weights", "mountPath": "/w", "readOnly": True} in container["volumeMounts"]
    assert "MATTE_CLAIMS" not in env


def worker(release: Release, spec: PoolSpec = FULL) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """A worker's pod, its container and its plain environment."""
    config = ray_service(release, "p", spec, EMPTY)["spec"]["rayClusterConfig"]
    pod = config["workerGroupSpecs"][0]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container, {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_workers_keep_models_on_a_volume_of_their_own() -> None:
    pod, container, env = worker(RELEASE)
    assert {"name": "cache", "emptyDir": {"sizeLimit": "20Gi"}} in pod["volumes"]
    assert {"name": "cache", "mountPath": env["MATTE_CACHE_DIR"]} in container["volumeMounts"]
    settings = RegistrySettings.model_validate({"cache_max_bytes": env["MATTE_CACHE_MAX_BYTES"]})
    assert 0.85 * 20 * 2**30 < settings.cache_max_bytes < 0.95 * 20 * 2**30  # a pod over its limit is evicted
    assert "envFrom" not in container
    assert "serviceAccountName" not in pod
    head = pods(FULL)[0]
    assert all(volume["name"] != "cache" for volume in head["volumes"])  # no replica runs there


def test_claims_of_a_pool_are_what_pvc_names() -> None:
    env = worker(RELEASE)[2]
    assert RegistrySettings.model_validate({"claims": json.loads(env["MATTE_CLAIMS"])}).claims == {
        "models": Path("/models")
    }
    assert "MATTE_CLAIMS" not in worker(RELEASE, PoolSpec())[2]


@pytest.mark.parametrize(
    ("cache", "volume"),
    [
        (CacheVolume("1.5G", claim="shared"), {"persistentVolumeClaim": {"claimName": "shared"}}),
        (CacheVolume("500Mi", host_path="/data/m"), {"hostPath": {"path": "/data/m", "type": "Directory"}}),
    ],
)
def test_a_cache_for_a_whole_node_and_an_identity(cache: CacheVolume, volume: dict[str, Any]) -> None:
    release = dataclasses.replace(RELEASE, cache=cache, models_secret="buckets", service_account="reader")
    pod, container, _ = worker(release)
    assert {"name": "cache", **volume} in pod["volumes"]
    assert container["envFrom"] == [{"secretRef": {"name": "buckets"}}]
    assert pod["serviceAccountName"] == "reader"
    assert pod["automountServiceAccountToken"] is False
    head = ray_service(release, "p", FULL, EMPTY)["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    assert "envFrom" not in head["containers"][0]  # KubeRay gives the head's autoscaler an account of its own
    assert "serviceAccountName" not in head


def test_what_the_release_says_of_the_cache_wins() -> None:
    env = worker(dataclasses.replace(RELEASE, env={"MATTE_CACHE_MAX_BYTES": "7"}))[1]["env"]
    assert [each["value"] for each in env if each["name"] == "MATTE_CACHE_MAX_BYTES"] == ["7"]


def test_autoscaling_only_where_there_is_room_to_scale() -> None:
    fixed, scaled = cluster(PoolSpec()), cluster(FULL)
    assert (fixed["enableInTreeAutoscaling"], "autoscalerOptions" in fixed) == (False, False)
    assert scaled["enableInTreeAutoscaling"] is True
    assert scaled["autoscalerOptions"]["securityContext"]["runAsNonRoot"]
    head, worker = pods(FULL)
    assert (head["automountServiceAccountToken"], worker["automountServiceAccountToken"]) == (True, False)
    assert pods(PoolSpec())[0]["automountServiceAccountToken"] is False


def test_the_budget_lets_one_pod_go_at_a_time() -> None:
    spec = disruption_budget(RELEASE, "p", PoolSpec.model_validate({"workers": {"minReplicas": 3, "maxReplicas": 3}}))
    assert spec["spec"]["minAvailable"] == 3  # of three workers and a head


@pytest.mark.parametrize(
    ("cpu", "limit", "cores"), [("50m", None, 1), ("2", None, 2), ("1", "1500m", 2), ("0.5", "4", 4)]
)
def test_cores_that_ray_may_give_away(cpu: str, limit: str | None, cores: int) -> None:
    assert whole_cpus(ComputeResources(cpu=cpu, cpu_limit=limit)) == cores
