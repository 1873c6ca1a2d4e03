"""What is loaded: models, versions and their shares, from a YAML file or built in."""

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
    """A version and its share of the model's traffic."""

    weight: int = Field(0, ge=0, le=100, description="per cent")


class ServeConfig(Contract):
    """Everything that inference serves."""

    default_model: ModelName
    versions: tuple[ServedVersion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> ServeConfig:
        self.table()
        return self

    def table(self) -> RouteTable:
        """The router's table.

        Raises:
            ValueError: weights of a model do not sum to 100, or the default model is not served.
        """
        models = list(dict.fromkeys(version.model for version in self.versions))
        routes = [
            Route(
                model=model,
                arms=tuple(Arm(version=v.version, weight=v.weight) for v in self.versions if v.model == model),
            )
            for model in models
        ]
        return RouteTable(default_model=self.default_model, routes=tuple(routes))

    @property
    def processes(self) -> int:
        """Workers that Ray starts before they are asked for, no more than the machine has cores: a controller, a
        router, what is started first. As many CPUs Ray divides among all that runs.
        """
        first, _ = self.waves()
        return max(len(self.versions), 2 + sum(version.replicas for version in first))

    def waves(self) -> tuple[list[VersionConfig], list[VersionConfig]]:
        """What answers pictures sent to the default model, which is started first, and the rest."""
        first = [version for version in self.versions if version.model == self.default_model and version.weight]
        rest = [version for version in self.versions if version not in first]
        return _apps(first), _apps(rest)


def _apps(versions: Sequence[ServedVersion]) -> list[VersionConfig]:
    return [VersionConfig(**version.model_dump(exclude={"weight"})) for version in versions]


def load_config(path: Path | None, only: str) -> ServeConfig:
    """The configuration of this process.

    Args:
        path: a YAML file in the shape of :class:`ServeConfig`; None: the built-in models.
        only: ``MATTE_MODEL_VERSION``: ``model@version`` separated by commas; '' for everything.

    Raises:
        ValueError: the file or the selection is wrong; the message names the field.
    """
    config = built_in() if path is None else ServeConfig.model_validate(yaml.safe_load(path.read_text()))
    return select(config, [name.strip() for name in only.split(",") if name.strip()])


def built_in() -> ServeConfig:
    """grabcut, which needs no weights; and the U-Net of the repository where torch and its weights are installed."""
    versions = [
        ServedVersion(model="grabcut", version="1.0.0", family="grabcut", license="Apache-2.0", weight=0),
        ServedVersion(model="grabcut", version="2.0.0", family="grabcut", license="Apache-2.0", weight=100),
    ]
    if importlib.util.find_spec("torch") is not None and (files("matte_inference") / "models").is_dir():
        versions += [_unet("1.0.0", 0), _unet("2.0.0", 100)]
    return ServeConfig(default_model="grabcut", versions=tuple(versions))


def _unet(version: str, weight: int) -> ServedVersion:
    folder = files("matte_inference") / "models" / f"unet-{version}"
    return ServedVersion(
        model="unet", version=version, family="unet", source=str(folder), license="Apache-2.0", weight=weight
    )


def select(config: ServeConfig, names: Sequence[str]) -> ServeConfig:
    """Only the named ``model@version``; a model whose open arms all fell away gives 100 to its highest version.

    Raises:
        ValueError: a name that the configuration does not have.
    """
    if not names:
        return config
    have = {f"{version.model}@{version.version}": version for version in config.versions}
    if unknown := [name for name in names if name not in have]:
        raise ValueError(f"MATTE_MODEL_VERSION names {', '.join(unknown)}; there is {', '.join(have)}")
    kept = [version for name, version in have.items() if name in names]
    models = list(dict.fromkeys(version.model for version in kept))
    whole = [version for model in models for version in _whole([v for v in kept if v.model == model])]
    default = config.default_model if config.default_model in models else models[0]
    return ServeConfig(default_model=default, versions=tuple(whole))


def _whole(versions: Sequence[ServedVersion]) -> list[ServedVersion]:
    """Weights that sum to 100 again: what fell away goes to the version with the most, the last one on a tie."""
    missing = 100 - sum(version.weight for version in versions)
    heir = max(range(len(versions)), key=lambda i: (versions[i].weight, i))
    return [
        version.model_copy(update={"weight": version.weight + missing}) if i == heir else version
        for i, version in enumerate(versions)
    ]
