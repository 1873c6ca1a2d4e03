"""Specs that are refused, by the contracts here and by the API server in tests/chart: one table for both."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Bad:
    """A change that makes a valid object a bad one, and what the API server has to say of it."""

    name: str
    kind: str
    spec: Object
    says: str
    #: whether the contracts refuse it too
    contract: bool = True


def valid(kind: str, name: str = "portrait") -> Object:
    """A valid object, small."""
    unet = {"family": "unet", "source": "file:///models/portrait", "version": "1.2.0", "parameters": {"refine": "none"}}
    specs: dict[str, Object] = {"Pool": {}, "Model": unet, "ModelVersion": unet | {"model": "portrait"}}
    return {"apiVersion": "matte.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": specs[kind]}


def changed(target: Object, changes: Object) -> Object:
    """``target`` after a JSON merge patch with ``changes``."""
    result = deepcopy(target)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = changed(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def _traffic(*weights: int) -> Object:
    return {"traffic": [{"version": f"1.{i}.0", "weight": weight} for i, weight in enumerate(weights)]}


_REMOTE = {"gradio": {"url": "http://studio:7860"}}
_ONE = "exactly one of family (a model that runs in the Pool) and remote (another app) must be set"
BAD = (
    Bad("unknown-family", "Model", {"family": "magic"}, 'supported values: "grabcut", "unet", "transformers"'),
    Bad("family-and-remote", "Model", {"remote": _REMOTE, "source": None}, _ONE),
    Bad("neither-family-nor-remote", "Model", {"family": None}, _ONE),
    Bad("gradio-as-family", "Model", {"family": "gradio"}, "to use another Gradio app, set remote.gradio.url"),
    Bad("no-source", "Model", {"source": None}, "family unet needs source, the folder with its weights"),
    Bad("remote-source", "Model", {"family": None, "remote": _REMOTE}, "a remote model has no source"),
    Bad("https-without-digest", "Model", {"source": f"https://example.org/w.onnx#sha256={'0' * 63}"}, "spec.source"),
    Bad("two-volumes", "Pool", {"weights": {"claimName": "a", "image": "b:1"}}, "claimName or image, not both"),
    Bad("source-by-http", "Model", {"source": "https://example.org/w"}, "spec.source"),
    Bad("password-in-url", "Model", {"remote": {"gradio": {"url": "http://me:pw@x"}}}, "without user or password"),
    Bad("short-version", "Model", {"version": "1.2"}, "must be a SemVer version, such as 1.4.2"),
    Bad("leading-zero", "Model", {"version": "1.02.0"}, "must be a SemVer version"),
    Bad("version-is-a-number", "Model", {"version": 1}, "must be of type string"),
    Bad("weights-below-100", "Model", _traffic(60, 30), "the weights must sum to 100"),
    Bad("weights-above-100", "Model", _traffic(100, 1), "the weights must sum to 100"),
    Bad("negative-weight", "Model", _traffic(110, -10), "should be less than or equal to 100"),
    Bad("version-twice", "Model", {"traffic": [{"version": "1.0.0", "weight": 50}] * 2}, "Duplicate value"),
    Bad(
        "one-and-a-half-gpus",
        "Model",
        {"resources": {"gpus": 1.5}},
        "gpus must be a whole number, or a fraction below 1",
    ),
    Bad("no-replica", "Model", {"replicas": 0}, "should be greater than or equal to 1"),
    Bad("unknown-field", "Model", {"sources": "x"}, 'unknown field "spec.sources"'),
    Bad("long-pool-name", "Model", {"pool": "p" * 41}, "may not be more than 40"),
    Bad("version-of-no-model", "ModelVersion", {"model": None}, "spec.model: Required value"),
    Bad("version-without-source", "ModelVersion", {"source": None}, "family unet needs source"),
    Bad("max-below-min", "Pool", {"workers": {"minReplicas": 3, "maxReplicas": 2}}, "maxReplicas must be at least min"),
    Bad("min-above-default-max", "Pool", {"workers": {"minReplicas": 3}}, "maxReplicas must be at least minReplicas"),
    Bad(
        "limit-below-request",
        "Pool",
        {"workers": {"resources": {"memoryLimit": "1Gi"}}},
        "memoryLimit must be at",
        contract=False,
    ),
    Bad("bad-quantity", "Pool", {"workers": {"resources": {"cpu": "two"}}}, "spec.workers.resources.cpu"),
    Bad("negative-cpu", "Pool", {"head": {"resources": {"cpu": -1}}}, "should be greater than or equal to 0"),
    Bad("bad-toleration", "Pool", {"head": {"tolerations": [{"operator": "Is"}]}}, '"Exists", "Equal"'),
)
