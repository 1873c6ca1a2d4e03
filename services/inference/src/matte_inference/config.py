"""The models and versions to serve, and their shares of the traffic: from a YAML file, or built in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Arm, ModelName, Route, RouteTable, VersionConfig, app_name
from pydantic import BeforeValidator, Field, model_validator

from matte_inference.cores import usable_cores
from matte_inference.router.route_plan import stable_version

#: in place of a number of threads
CORES = "cores"


def _threads(given: Any) -> Any:
    return usable_cores() if given == CORES else given


class ServedVersion(VersionConfig):
    weight: int = Field(0, ge=0, le=100, description="per cent of the model's traffic")
    threads: Annotated[int, BeforeValidator(_threads)] = Field(
        1, ge=1, description="CPU threads of one forward pass; 'cores': as many as this machine has cores"
    )


class ServeConfig(Contract):
    """All versions that inference serves. The weights of each model sum to 100."""

    default_model: ModelName
    fallback_model: ModelName | None = Field(
        None, description="answers in place of the default model until that is downloaded and loaded"
    )
    versions: tuple[ServedVersion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_table(self) -> ServeConfig:
        if self.fallback_model is not None and self.fallback_model not in {each.model for each in self.versions}:
            raise ValueError(f"fallback model {self.fallback_model} has no version")
        self.table()
        return self

    def table(self, unavailable: Collection[str] = ()) -> RouteTable:
        """``unavailable`` are the applications of versions that cannot answer yet. While the default model's stable
        version is one of them, the fallback model is the default.
        """
        arms: dict[str, list[Arm]] = {}
        for version in self.versions:
            arms.setdefault(version.model, []).append(Arm(version=version.version, weight=version.weight))
        routes = tuple(Route(model=model, arms=tuple(each)) for model, each in arms.items())
        table = RouteTable(default_model=self.default_model, routes=routes)
        if self.fallback_model in (None, self.default_model) or stable_app(table) not in unavailable:
            return table
        return RouteTable(
            default_model=self.fallback_model, pending_default_model=self.default_model, routes=routes
        )  # fmt: skip

    @property
    def processes(self) -> int:
        """Number of workers that Ray starts in advance, and of CPUs that it divides among all that runs: one for the
        controller, one for the router, and one for each replica that is started first.
        """
        first, _ = self.waves()
        return max(len(self.versions), 2 + sum(version.replicas for version in first))

    def waves(self, unavailable: Collection[str] = ()) -> tuple[list[VersionConfig], list[VersionConfig]]:
        """The versions that have traffic of the model which is the default, which are started first, and the rest."""
        default = self.table(unavailable).default_model
        waves: tuple[list[VersionConfig], list[VersionConfig]] = ([], [])
        for version in self.versions:
            first = version.model == default and version.weight
            waves[0 if first else 1].append(VersionConfig(**version.model_dump(exclude={"weight"})))
        return waves


def stable_app(table: RouteTable) -> str | None:
    """The application of the default model's version that has the most traffic."""
    route = table.route(table.default_model or "")
    version = stable_version(route) if route else None
    return app_name(route.model, version) if route and version else None


def load_config(path: Path | None, only: str) -> ServeConfig:
    """The versions ``only`` (``model@version`` separated by commas; '' for all) of a YAML file, else of the built-in
    models. Raises ValueError if the file or the selection is wrong; the message names the field.
    """
    config = built_in() if path is None else ServeConfig.model_validate(yaml.safe_load(path.read_text()))
    return select(config, [name.strip() for name in only.split(",") if name.strip()])


def built_in() -> ServeConfig:
    text = (files("matte_inference") / "models" / "default.yaml").read_text()
    return ServeConfig.model_validate(yaml.safe_load(text))


def select(config: ServeConfig, names: Sequence[str]) -> ServeConfig:
    """Only the named ``model@version``; ValueError for a name that the configuration does not have. The share of a
    model's other versions goes to the one with the most traffic, the last one on a tie.
    """
    if not names:
        return config
    available = {f"{version.model}@{version.version}": version for version in config.versions}
    if unknown := [name for name in names if name not in available]:
        raise ValueError(f"MATTE_MODEL_VERSION names {', '.join(unknown)}; there is {', '.join(available)}")
    by_model: dict[str, list[ServedVersion]] = {}
    for name, version in available.items():
        if name in names:
            by_model.setdefault(version.model, []).append(version)
    for versions in by_model.values():
        heir = max(range(len(versions)), key=lambda i: (versions[i].weight, i))
        missing = 100 - sum(version.weight for version in versions)
        versions[heir] = versions[heir].model_copy(update={"weight": versions[heir].weight + missing})
    fallback = config.fallback_model if config.fallback_model in by_model else None
    default = config.default_model if config.default_model in by_model else fallback or next(iter(by_model))
    selected = tuple(version for versions in by_model.values() for version in versions)
    return ServeConfig(default_model=default, fallback_model=fallback, versions=selected)
