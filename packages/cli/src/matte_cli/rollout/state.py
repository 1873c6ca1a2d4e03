"""A Model as far as its rollout goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_core.domain.phases import TERMINAL
from pydantic import ValidationError


class RolloutError(RuntimeError):
    """Something that a person can act on; the message says what."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is asked for, and what became of it. ``spec`` is None where new versions take over at once."""

    model: str
    version: str
    spec: RolloutSpec | None
    status: RolloutStatus | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Rollout:
        """From a Model as the API has it; what is not about rollouts may be newer than this command.

        Raises:
            RolloutError: the rollout itself is.
        """
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
        """Nothing happens any more about the version that the spec asks for."""
        status, request = self.status, self.spec.request if self.spec else None
        if status is None or status.phase not in TERMINAL or (request and request.is_pending(self.version, status)):
            return False
        if status.phase is Phase.SUCCEEDED:
            return status.stable == self.version
        return self.version in {status.canary, status.stable}
