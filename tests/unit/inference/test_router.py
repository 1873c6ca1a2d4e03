"""Free slots, and what is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from matte_core.contracts.catalog import Replica
from matte_inference.config import ServeConfig, ServedVersion, built_in, load_config, select
from matte_inference.cores import usable_cores
from matte_inference.loading import State, next_to_load
from matte_inference.router.route_plan import free_slots


def replica(name: str, version: str, slots: int, model: str = "m") -> Replica:
    return Replica(
        id=name, model=model, version=version, family="grabcut", digest="sha256:0", slots=slots, expires_at=1.0
    )


def test_free_slots_are_what_live_replicas_hold_less_what_was_handed_over() -> None:
    replicas = [
        replica("a", "1.0.0", 2),
        replica("b", "1.0.0", 2),
        replica("c", "2.0.0", 1),
        replica("d", "1.0.0", 9, "x"),
    ]
    in_use = {("m", "1.0.0"): 3, ("m", "2.0.0"): 1, ("x", "1.0.0"): 5}
    assert free_slots("m", ["1.0.0", "2.0.0", "3.0.0"], replicas, in_use, routers=1) == {"1.0.0": 1}
    assert free_slots("m", ["1.0.0", "2.0.0"], replicas, {}, routers=2) == {"1.0.0": 2, "2.0.0": 1}
    assert free_slots("m", ["1.0.0"], [], {}, routers=0) == {}


def test_the_built_in_models_are_served_by_their_newest_version() -> None:
    table = built_in().table()
    assert (table.default_model, table.pending_default_model) == ("isnet", None)
    assert [route.model for route in table.routes] == ["isnet", "grabcut"]
    assert all(route.arms[-1].weight == 100 for route in table.routes)


def test_the_fallback_model_answers_while_the_default_cannot() -> None:
    config = built_in()
    table = config.table({"isnet-1-0-0"})
    assert (table.default_model, table.pending_default_model) == ("grabcut", "isnet")
    assert table.routes == config.table().routes
    assert config.table({"grabcut-1-0-0", "grabcut-2-0-0"}) == config.table()
    assert [app.app for app in config.waves({"isnet-1-0-0"})[0]] == ["grabcut-2-0-0"]
    assert [app.app for app in config.waves()[0]] == ["isnet-1-0-0"]
    alone = ServeConfig(default_model="isnet", versions=config.versions)
    assert alone.table({"isnet-1-0-0"}) == config.table()  # nobody else answers: its jobs wait
    with pytest.raises(ValueError, match="fallback model other has no version"):
        ServeConfig(default_model="isnet", fallback_model="other", versions=config.versions)


def test_the_default_answers_with_its_stable_version_alone() -> None:
    def version(number: str, weight: int, model: str = "m") -> ServedVersion:
        return ServedVersion(model=model, version=number, family="grabcut", weight=weight)

    config = ServeConfig(
        default_model="m", fallback_model="f",
        versions=(version("1.0.0", 90), version("2.0.0", 10), version("1.0.0", 100, "f")),
    )  # fmt: skip
    assert config.table({"m-2-0-0"}).default_model == "m"
    assert config.table({"m-1-0-0"}).default_model == "f"


def test_the_versions_of_the_default_model_are_loaded_before_the_others() -> None:
    states = {"f": State.HERE, "d": State.DOWNLOADING, "x": State.HERE}
    assert next_to_load(states, ["f"]) == ["f"]
    assert next_to_load(states | {"f": State.LOADING}, ["f"]) == []
    assert next_to_load(states | {"f": State.RUNNING}, ["f"]) == ["x"]
    assert next_to_load(states | {"f": State.FAILED, "d": State.HERE}, ["f"]) == ["d", "x"]
    assert next_to_load(states, ["d"]) == ["f", "x"]  # a download holds up nothing


def test_threads_may_be_as_many_as_there_are_cores(tmp_path: Path) -> None:
    cores = usable_cores(tmp_path / "none")
    assert cores >= 1
    given = {"model": "m", "version": "1.0.0", "family": "f", "threads": "cores"}
    assert ServedVersion.model_validate(given).threads == usable_cores()
    with pytest.raises(ValueError, match="threads"):
        ServedVersion.model_validate(given | {"threads": "all"})
    quota = tmp_path / "cpu.max"
    for text, expected in (("max 100000", cores), ("50000 100000", 1), ("6400000 100000", min(cores, 64))):
        quota.write_text(text + "\n")
        assert usable_cores(quota) == expected


def test_a_selection_keeps_weights_whole() -> None:
    config = select(built_in(), ["grabcut@1.0.0"])
    assert [(v.version, v.weight) for v in config.versions] == [("1.0.0", 100)]
    assert (config.default_model, config.fallback_model) == ("grabcut", "grabcut")
    with pytest.raises(ValueError, match=r"names grabcut@9\.0\.0; there is isnet@1\.0\.0, grabcut@1\.0\.0"):
        select(built_in(), ["grabcut@9.0.0"])


def test_a_file_names_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "matte.yaml"
    path.write_text(
        "default_model: m\nversions:\n- {model: m, version: 1.0.0, family: grabcut, weight: 60}\n"
        "- {model: m, version: 1.1.0, family: grabcut, weight: 40, slots: 3}\n"
    )
    config = load_config(path, "")
    assert isinstance(config, ServeConfig)
    first, rest = config.waves()
    assert ([app.app for app in first], rest) == (["m-1-0-0", "m-1-1-0"], [])
    assert config.processes == 4
    path.write_text("default_model: m\nversions:\n- {model: m, version: 1.0.0, family: grabcut, weight: 60}\n")
    with pytest.raises(ValueError, match="weights sum to 60"):
        load_config(path, "")
    path.write_text("default_model: m\nversions:\n- {model: m, version: 1.0.0, family: grabcut, wieght: 60}\n")
    with pytest.raises(ValueError, match="wieght"):
        load_config(path, "")
