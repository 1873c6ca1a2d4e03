"""Examples in the OpenAPI document. A test validates them against the contracts."""

from typing import Any

_ID = "5b0c1d5e6f7a4b8c9d0e1f2a3b4c5d6e"
_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
#: a picture of one pixel
PICTURE_B64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII="
ABOUT: dict[str, Any] = {"version": "0.1.0", "revision": None, "api": ["v1"]}
JOB: dict[str, Any] = {
    "id": _ID, "state": "queued", "position": 3, "queue_length": 4, "eta_seconds": 1.8, "attempts": 0,
    "model": "unet", "version": None, "created_at": 1767225600.0, "started_at": None, "finished_at": None,
    "result": None, "error": None,
    "links": {
        "self": f"/v1/jobs/{_ID}", "events": f"/v1/jobs/{_ID}/events", "result": f"/v1/jobs/{_ID}/result"
    },
}  # fmt: skip
JSON_RESULT: dict[str, Any] = {
    "id": _ID, "model": "unet", "version": "2.0.0", "digest": _DIGEST, "arm": "2.0.0", "width": 1, "height": 1,
    "foreground": "found", "uncertainty": 0.07,
    "timings": {
        "queued": 0.002, "fetch": 0.001, "decode": 0.008, "forward": 0.04, "encode": 0.006,
        "total": 0.055, "cpu": 0.052,
    },
    "result_b64": PICTURE_B64,
}  # fmt: skip
CATALOG: dict[str, Any] = {
    "default_model": "unet",
    "pending_default_model": "isnet",
    "models": [
        {
            "name": "unet", "default": True, "ready": True, "queue_length": 4,
            "versions": [
                {
                    "version": "2.0.0", "weight": 100, "ready": True, "replicas": 1, "slots": 2, "family": "unet",
                    "digest": _DIGEST, "license": "Apache-2.0", "device": "cpu", "seconds_per_picture": 0.2,
                    "seconds_per_megapixel": 0.05,
                }
            ],
        },
        {
            "name": "isnet", "default": False, "ready": False, "queue_length": 0,
            "versions": [
                {
                    "version": "1.0.0", "weight": 100, "ready": False, "replicas": 0, "slots": 0,
                    "download": {"done": 43_000_000, "total": 88_188_479, "error": None},
                }
            ],
        },
    ],
}  # fmt: skip
ROLLOUT: dict[str, Any] = {
    "model": "unet", "version": "2.0.0", "stable": "1.0.0",
    "starts": [
        {
            "replica": "unet-2-0-0-7f3a", "at": 1767225000.0, "digest": _DIGEST,
            "golden": [
                {
                    "name": "cat", "error": "", "bad_mask": "",
                    "agreements": {"1.0.0": {"iou": 0.98, "boundary": 0.95, "alpha_difference": 0.01}},
                }
            ],
        }
    ],
    "answers": {
        "total": 120, "errors": 0, "bad_masks": 1, "no_subjects": 1, "uncertainty": 0.071, "p50_seconds": 0.06,
        "p95_seconds": 0.09,
    },
    "stable_answers": {
        "total": 2280, "errors": 1, "bad_masks": 9, "no_subjects": 8, "uncertainty": 0.068, "p50_seconds": 0.05,
        "p95_seconds": 0.09,
    },
    "pairs": 114, "agreement": {"iou": 0.97, "boundary": 0.94, "alpha_difference": 0.01},
    "shown": [
        {
            "at": 1767225300.0, "name": "5b0c1d5e…", "stable": "1.0.0",
            "agreement": {"iou": 0.61, "boundary": 0.42, "alpha_difference": 0.12},
        }
    ],
}  # fmt: skip
STREAM = (
    'event: position\ndata: {"position": 3, "queue_length": 4, "eta_seconds": 1.8}\n\n'
    'id: 1767225600000-0\nevent: started\ndata: {"version": "2.0.0", "attempt": 1}\n\n'
    'id: 1767225600310-0\nevent: progress\ndata: {"stage": "forward", "fraction": 0.42}\n\n'
    'id: 1767225600655-0\nevent: finished\ndata: {"state": "succeeded"}\n\n'
)
