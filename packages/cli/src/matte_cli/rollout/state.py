"""The rollout of a Model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_core.domain.phases import TERMINAL
from pydantic import ValidationError


class RolloutError(RuntimeError):
    """The message says what to do."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The spec and status of a rollout. ``spec`` is None if new versions take all traffic at once."""

    model: str
    version: str
    spec: RolloutSpec | None
    status: RolloutStatus | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Rollout:
        """The rollout in a Model's API object. Raises RolloutError if its fields are newer than this command."""
        spec, status = body.get("spec", {}), body.get("status") or {}
        name = str(body["metadata"]["name"])
        try:
            return cls(
                name, str(spec.get("version", "")),
                RolloutSpec.model_validate(spec["rollout"]) if spec.get("rollout") is not None else None,
                RolloutStatus.model_validate(status["rollout"]) if status.get("rollout") else None,
            )  # fmt: skip
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RolloutError(
                f"{name} has a rollout that this command does not understand ({where}: {first['msg']}); "
                "it and the cluster's Matte are of different versions"
            ) from error

    @property
    def over(self) -> bool:
        """Whether the rollout of the spec's version has ended."""
        status, request = self.status, self.spec.request if self.spec else None
        if status is None or status.phase not in TERMINAL or (request and request.is_pending(self.version, status)):
            return False
        if status.phase is Phase.SUCCEEDED:
            return status.stable == self.version
        return self.version in {status.canary, status.stable}
