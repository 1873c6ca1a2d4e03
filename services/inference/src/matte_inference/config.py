"""The models and versions to serve, and their shares of the traffic: from a YAML file, or built in."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import yaml
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Arm, ModelName, Route, RouteTable, VersionConfig
from pydantic import Field, model_validator


class ServedVersion(VersionConfig):
    weight: int = Field(0, ge=0, le=100, description="per cent of the model's traffic")


class ServeConfig(Contract):
    """All versions that inference serves. The weights of each model sum to 100."""

    default_model: ModelName
    versions: tuple[ServedVersion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_table(self) -> ServeConfig:
        self.table()
        return self

    def table(self) -> RouteTable:
        arms: dict[str, list[Arm]] = {}
        for version in self.versions:
            arms.setdefault(version.model, []).append(Arm(version=version.version, weight=version.weight))
        routes = tuple(Route(model=model, arms=tuple(each)) for model, each in arms.items())
        return RouteTable(default_model=self.default_model, routes=routes)

    @property
    def processes(self) -> int:
        """Number of workers that Ray starts in advance, and of CPUs that it divides among all that runs: one for the
        controller, one for the router, and one for each replica that is started first.
        """
        first, _ = self.waves()
        return max(len(self.versions), 2 + sum(version.replicas for version in first))

    def waves(self) -> tuple[list[VersionConfig], list[VersionConfig]]:
        """The versions of the default model that have traffic, which are started first, and the rest."""
        waves: tuple[list[VersionConfig], list[VersionConfig]] = ([], [])
        for version in self.versions:
            first = version.model == self.default_model and version.weight
            waves[0 if first else 1].append(VersionConfig(**version.model_dump(exclude={"weight"})))
        return waves


def load_config(path: Path | None, only: str) -> ServeConfig:
    """The versions ``only`` (``model@version`` separated by commas; '' for all) of a YAML file, else of the built-in
    models. Raises ValueError if the file or the selection is wrong; the message names the field.
    """
    config = built_in() if path is None else ServeConfig.model_validate(yaml.safe_load(path.read_text()))
    return select(config, [name.strip() for name in only.split(",") if name.strip()])


def built_in() -> ServeConfig:
    """GrabCut, which needs no weights; and the bundled U-Net if torch and its weights are installed."""
    models = files("matte_inference") / "models"
    weights = {"1.0.0": 0, "2.0.0": 100}
    versions = [
        ServedVersion(model="grabcut", version=version, family="grabcut", license="Apache-2.0", weight=weight)
        for version, weight in weights.items()
    ]
    if importlib.util.find_spec("torch") is not None and models.is_dir():
        versions += [
            ServedVersion(
                model="unet", version=version, family="unet", source=str(models / f"unet-{version}"),
                license="Apache-2.0", weight=weight,
            )
            for version, weight in weights.items()
        ]  # fmt: skip
    return ServeConfig(default_model="grabcut", versions=tuple(versions))


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
    default = config.default_model if config.default_model in by_model else next(iter(by_model))
    return ServeConfig(default_model=default, versions=tuple(v for each in by_model.values() for v in each))
