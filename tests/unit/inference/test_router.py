"""Free slots, and what is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from matte_core.contracts.catalog import Replica
from matte_inference.config import ServeConfig, built_in, load_config, select
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
    assert table.default_model == "grabcut"
    assert all(route.arms[-1].weight == 100 for route in table.routes)


def test_a_selection_keeps_weights_whole() -> None:
    config = select(built_in(), ["grabcut@1.0.0"])
    assert [(v.version, v.weight) for v in config.versions] == [("1.0.0", 100)]
    with pytest.raises(ValueError, match=r"names grabcut@9\.0\.0; there is grabcut@1\.0\.0"):
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
