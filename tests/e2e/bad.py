"""Ten bad versions, and what is to become of each. Those of a track are tried one after the other, on one Model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from e2e import objects

#: the first step of the rollouts: of the new version's answers enough are seen within half a minute
FIRST_WEIGHT = 40
STARTS = 120
STABLE = "1.0.0"
_NOWHERE = "http://elsewhere:7861"  # a port that the Service does not have


@dataclass(frozen=True)
class Bad:
    """A version that must not be let loose.

    Attributes:
        name: as people call it.
        change: what its spec has beside or instead of that of the track.
        phase: in which the rollout ends; Failed: it never had traffic.
        cause: as the status names it.
        says: a pattern of the status' message.
        weight: the most that a router ever gave it, per cent.
        rollout: limits of its own.
    """

    name: str
    change: dict[str, Any]
    phase: str
    cause: str
    says: str
    weight: int = 0
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """A Model with a good version that serves, and bad ones that follow.

    Attributes:
        good: of the good version's spec.
        rate: pictures per second, sent by ``matte traffic drive`` from the first bad version to the last.
    """

    model: str
    good: dict[str, Any]
    bad: tuple[Bad, ...]
    rate: float = 1

    def spec(self, version: str, change: dict[str, Any] | None = None, **limits: int) -> objects.Object:
        """The Model at a version."""
        fields = {"license": objects.LICENSE, "resources": {"cpus": 0.05}, **self.good, **(change or {})}
        if "family" in (change or {}) or "remote" in (change or {}):
            other = "remote" if "family" in (change or {}) else "family"
            fields.pop(other, None)
        return objects.resource("Model", self.model, version=version, rollout=rollout(**limits), **fields)


def rollout(**limits: int) -> objects.Object:
    """Steps that a version which errs or is slow does not get through."""
    steps = [{"weight": weight, "durationSeconds": 90, "minSamples": 400} for weight in (FIRST_WEIGHT, 70)]
    # masks are compared by the golden images alone: a mirror would have the slow ones compute twice as much
    analysis = {"intervalSeconds": 5, "minSamples": 30, "agreement": {"mirrorPercent": 0}}
    return {"steps": steps, "analysis": analysis, "limits": {"startSeconds": STARTS, "confirmSeconds": 0, **limits}}


def remote(api_name: str, url: str = "http://elsewhere:7860") -> dict[str, Any]:
    """Another Gradio app that serves the version."""
    return {"remote": {"gradio": {"url": url, "apiName": api_name}}, "slots": 8}


_CRASHES = Bad(
    "crashes on start",
    {"parameters": {"sharpness": 11}},
    "Failed",
    "StartFailed",
    r"InvalidParameters: .*unknown parameter 'sharpness'",
)
_DIGEST = Bad(
    "wrong digest",
    {"source": objects.source(objects.MAIN, "1.1.0"), "digest": f"sha256:{'0' * 64}"},
    "Failed",
    "VerificationFailed",
    r"DigestMismatch: .*sha256:",
)
_LICENSE = Bad(
    "disallowed license",
    {"source": objects.source(objects.MAIN, objects.NOT_ALLOWED)},
    "Failed",
    "VerificationFailed",
    rf"LicenseRefused: .*CC-BY-NC-4\.0 is not allowed.*{objects.LICENSE}",
)
_GPU = Bad(
    "missing GPU",
    {"resources": {"cpus": 0.05, "gpus": 1}},
    "Failed",
    "NoCapacity",
    r"needs 1 nvidia\.com/gpu, the workers of Pool default have none",
)
_NEVER = Bad(
    "never ready",
    remote("/cut_out", _NOWHERE),
    "Failed",
    "TimedOut",
    r"Starting took longer than 30 s",
    limits={"startSeconds": 30},
)
_OOM = Bad("OOM", remote("/hungry", "http://glutton:7860"), "Failed", "GoldenFailed", r"4 of 4 golden images failed")
_EMPTY = Bad("empty masks", remote("/empty"), "Failed", "GoldenFailed", r"4 of 4 golden images failed: empty mask")
_SHIFTED = Bad("shifted masks", remote("/shifted"), "Failed", "GoldenFailed", r"differ from stable's: cat, coffee")
_ERRORS = Bad(
    "5 % errors", remote("/failing"), "RolledBack", "AnalysisFailed", r"errors: \d+ of \d+ against 0 of", FIRST_WEIGHT
)
_SLOW = Bad("3× slower", remote("/slow"), "RolledBack", "AnalysisFailed", r"latency: p95 [3-9]", FIRST_WEIGHT)

#: those that take longest come first
TRACKS = (
    Track("slows", remote("/steady"), (_SLOW,), rate=4),
    Track("errs", remote("/cut_out"), (_ERRORS,), rate=6),
    Track(
        "portrait",
        {"family": "onnx", "source": objects.source(objects.MAIN, STABLE)},
        (_CRASHES, _DIGEST, _LICENSE, _GPU),
    ),
    Track("distant", remote("/cut_out"), (_NEVER, _OOM)),
    Track("masks", remote("/cut_out"), (_EMPTY, _SHIFTED)),
)
