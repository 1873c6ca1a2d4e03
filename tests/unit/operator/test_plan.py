import json
from typing import Any

from matte_core.contracts.catalog import RouteTable
from matte_core.contracts.k8s.common import Condition, ConditionStatus
from matte_operator.domain.pool import pool_status
from matte_operator.events import conditions_to_report
from matte_operator.kinds import MODEL, MODEL_VERSION, POD, POOL, RAY_CLUSTER, RAY_SERVICE, Body
from matte_operator.plan import Plan, is_subset, model_version_manifest, plan
from matte_operator.render.pods import Release
from matte_operator.snapshot import Snapshot
from unit.operator.builders import NOW

RELEASE = Release("ns", "matte", "inference:1", "matte-redis")


def body(kind: Any, name: str, spec: Body, created: int = 0, status: Body | None = None) -> Body:
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": spec,
        "status": status or {},
    }


def model(name: str, created: int = 0, **spec: Any) -> Body:
    return body(MODEL, name, {"family": "grabcut", "version": "1.0.0", **spec}, created)


def made(model_body: Body, **status: Any) -> Body:
    """Its ModelVersion, as the API would have it."""
    planned = plan(Snapshot.of({MODEL: [model_body]}), RELEASE, NOW).models[0]
    assert planned.decision is not None
    (wanted,) = planned.decision.apply
    found = model_version_manifest(RELEASE, model_body, wanted)
    return body(MODEL_VERSION, found["metadata"]["name"], found["spec"], status=status)


def snapshot(*models: Body, running: tuple[str, ...] = (), pool: Body | None = None) -> Snapshot:
    apps = {app: {"status": "RUNNING"} for app in (*running, "router")}
    service = {"activeServiceStatus": {"rayClusterName": "c1", "applicationStatuses": apps}}
    cluster = {"readyWorkerReplicas": 1, "conditions": [{"type": "HeadPodReady", "status": "True"}]}
    return Snapshot.of(
        {
            POOL: [pool or body(POOL, "default", {})],
            MODEL: list(models),
            MODEL_VERSION: [made(each) for each in models],
            RAY_SERVICE: [body(RAY_SERVICE, "matte-default", {}, status=service)],
            RAY_CLUSTER: [body(RAY_CLUSTER, "c1", {}, status=cluster)],
        }
    )


def config(planned: Plan) -> tuple[RouteTable, list[str]]:
    service = planned.pools[0].service
    assert service is not None
    applications = json.loads(service["spec"]["serveConfigV2"])["applications"]
    table = RouteTable.model_validate(applications[0]["deployments"][0]["user_config"])
    return table, [app["name"] for app in applications[1:]]


def test_the_application_comes_first_and_the_arm_when_it_runs() -> None:
    table, apps = config(plan(snapshot(model("portrait")), RELEASE, NOW))
    assert (table.routes, apps) == ((), ["portrait-1-0-0"])
    table, apps = config(plan(snapshot(model("portrait"), running=("portrait-1-0-0",)), RELEASE, NOW))
    assert [route.model for route in table.routes] == ["portrait"]


def test_the_default_is_the_one_that_says_so_else_the_oldest() -> None:
    running = ("a-1-0-0", "b-1-0-0")
    oldest = snapshot(model("a", 5), model("b", 1), running=running)
    assert config(plan(oldest, RELEASE, NOW))[0].default_model == "b"
    said = snapshot(model("a", 5, default=True), model("b", 1), running=running)
    assert config(plan(said, RELEASE, NOW))[0].default_model == "a"


def test_a_default_that_does_not_answer_yet_is_not_replaced_by_another_model() -> None:
    said = snapshot(model("a", 5, default=True), model("b", 1), running=("b-1-0-0",))
    assert config(plan(said, RELEASE, NOW))[0].default_model is None


def default_of(*models: Body, running: tuple[str, ...]) -> str | None:
    return config(plan(snapshot(*models, running=running), RELEASE, NOW))[0].default_model


def test_a_fallback_answers_until_the_default_has_traffic() -> None:
    models = model("a", 5, default=True), model("b", 1), model("c", 2, fallback=True)
    assert default_of(*models, running=("b-1-0-0",)) is None
    assert default_of(*models, running=("b-1-0-0", "c-1-0-0")) == "c"
    assert default_of(*models, running=("a-1-0-0", "b-1-0-0", "c-1-0-0")) == "a"


def test_the_oldest_fallback_with_traffic_answers() -> None:
    models = model("a", 3, default=True), model("b", 2, fallback=True), model("c", 1, fallback=True)
    assert default_of(*models, running=("b-1-0-0",)) == "b"
    assert default_of(*models, running=("b-1-0-0", "c-1-0-0")) == "c"


def test_without_a_default_the_fallback_is_it_even_where_another_model_is_older() -> None:
    models = model("a", 1), model("b", 2, fallback=True)
    assert default_of(*models, running=("a-1-0-0", "b-1-0-0")) == "b"


def test_a_default_that_stops_answering_keeps_the_paths() -> None:
    models = model("a", 1, default=True), model("b", 2, fallback=True)
    seen = snapshot(*models, running=("a-1-0-0", "b-1-0-0"))
    (first,) = (each.decision for each in plan(seen, RELEASE, NOW).models if each.model.name == "a")
    models[0]["status"] = first.status.model_dump(mode="json", exclude_none=True)
    assert default_of(*models, running=("b-1-0-0",)) == "a"


def test_a_default_in_another_pool_that_has_traffic_leaves_no_default_to_the_fallback() -> None:
    models = model("a", 1, default=True, pool="gpu"), model("b", 2, fallback=True)
    pools = [body(POOL, "default", {}), body(POOL, "gpu", {})]
    seen = snapshot(*models, running=("b-1-0-0",))
    lists = {kind: list(bodies.values()) for kind, bodies in seen.objects.items()} | {POOL: pools}

    def defaults() -> list[str | None]:
        services = [pool.service["spec"]["serveConfigV2"] for pool in plan(Snapshot.of(lists), RELEASE, NOW).pools]
        configs = [json.loads(service)["applications"][0]["deployments"][0]["user_config"] for service in services]
        return [RouteTable.model_validate(each).default_model for each in configs]

    assert defaults() == ["b", None]
    gpu = {"activeServiceStatus": {"rayClusterName": "c2", "applicationStatuses": {"a-1-0-0": {"status": "RUNNING"}}}}
    lists[RAY_SERVICE] = [*lists[RAY_SERVICE], body(RAY_SERVICE, "matte-gpu", {}, status=gpu)]
    cluster = {"readyWorkerReplicas": 1, "conditions": [{"type": "HeadPodReady", "status": "True"}]}
    lists[RAY_CLUSTER] = [*lists[RAY_CLUSTER], body(RAY_CLUSTER, "c2", {}, status=cluster)]
    assert defaults() == [None, "a"]


def test_a_model_whose_spec_is_unknown_disturbs_nobody() -> None:
    strange = body(MODEL, "strange", {"family": "magic", "version": "1.0.0"})
    seen = snapshot(model("portrait"), running=("portrait-1-0-0",))
    planned = plan(
        Snapshot.of(
            {kind: [*bodies.values(), *([strange] if kind is MODEL else [])] for kind, bodies in seen.objects.items()}
        ),
        RELEASE,
        NOW,
    )
    assert config(planned)[1] == ["portrait-1-0-0"]
    assert ["family" in each.error for each in planned.invalid if each.body is strange] == [True]


def test_a_model_that_is_being_deleted_leaves_the_route_and_its_applications_end() -> None:
    going = model("portrait")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    seen = snapshot(model("portrait"), running=("portrait-1-0-0",))
    lists = {kind: list(bodies.values()) for kind, bodies in seen.objects.items()}
    planned = plan(Snapshot.of({**lists, MODEL: [going]}), RELEASE, NOW)
    assert config(planned) == (RouteTable(), [])


def test_the_same_world_gives_the_same_objects() -> None:
    seen = snapshot(model("portrait"), running=("portrait-1-0-0",))
    one, two = plan(seen, RELEASE, NOW), plan(seen, RELEASE, NOW)
    assert one.pools[0].service == two.pools[0].service


def test_two_models_whose_versions_would_share_a_name() -> None:
    first = model("a-1", version="0.0.1")
    second = model("a", version="1.0.0-1")
    third = body(MODEL, "a", {"family": "grabcut", "version": "1.0.0-0.0.1"})
    seen = Snapshot.of({MODEL: [first, third], MODEL_VERSION: [made(second)]})
    assert all(each.decision for each in plan(seen, RELEASE, NOW).models)
    clash = Snapshot.of({MODEL: [model("a-1-0-0", version="0.0.1"), model("a", version="1.0.0-0.0.1")]})
    name = "a-1-0-0-0-0-1"
    owner = made(model("a-1-0-0", version="0.0.1"))
    assert owner["metadata"]["name"] == name
    lists = {MODEL: list(clash.objects[MODEL].values()), MODEL_VERSION: [owner]}
    planned = {each.model.name: each for each in plan(Snapshot.of(lists), RELEASE, NOW).models}
    decision = planned["a"].decision
    assert decision is not None
    assert decision.apply == ()
    assert decision.status.conditions[0].reason == "NameTaken"


def test_a_pool_s_status_is_about_its_own_pods() -> None:
    seen = snapshot(model("portrait"))
    other = body(POD, "x", {})
    other["metadata"]["labels"] = {"matte.dev/pool": "other", "ray.io/node-type": "worker"}
    other["status"] = {
        "containerStatuses": [{"image": "x", "name": "c", "state": {"waiting": {"reason": "ErrImagePull"}}}]
    }
    lists = {kind: list(bodies.values()) for kind, bodies in seen.objects.items()}
    seen = Snapshot.of({**lists, POD: [other]})
    planned = plan(seen, RELEASE, NOW)
    (pool,) = planned.pools
    status = pool_status(pool.pool.spec, pool.pool.status, 1, pool.observation, NOW)
    assert [c.status.value for c in status.conditions] == ["True", "True"]


def test_covers() -> None:
    there = {"a": [{"b": 1, "defaulted": True}], "c": "x", "more": 1}
    assert is_subset({"a": [{"b": 1}], "c": "x"}, there)
    assert not is_subset({"a": [{"b": 2}]}, there)
    assert not is_subset({"a": []}, there)
    assert not is_subset({"z": 1}, there)
    assert not is_subset({"a": 1}, None)


def condition(status: str, reason: str, message: str = "", type_: str = "Ready") -> Condition:
    return Condition(
        type=type_,
        status=ConditionStatus(status),
        reason=reason,
        message=message,
        last_transition_time="2026-01-01T00:00:00Z",
    )


def test_events_are_told_on_change_only() -> None:
    good, bad = condition("True", "Running", "2 workers"), condition("False", "ImagePullFailed", "x")
    assert conditions_to_report([good], [good]) == []
    assert conditions_to_report([good], [condition("True", "Running", "3 workers")]) == []
    assert conditions_to_report([good], [bad]) == [bad]
    assert conditions_to_report([bad], [condition("False", "ImagePullFailed", "y")]) != []
    assert conditions_to_report([bad], [good]) == [good]


def test_what_everybody_expects_is_no_event() -> None:
    assert conditions_to_report([], [condition("True", "Scheduled", type_="CapacityAvailable")]) == []
    assert conditions_to_report([], [condition("False", "PoolNotReady", "the Pool has reported it")]) == []
    assert conditions_to_report([], [condition("True", "Routed", type_="Serving")]) == []
