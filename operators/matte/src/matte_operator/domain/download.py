"""How far the weights of versions are, as statuses show it: every few seconds, not at every report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from matte_core.contracts.catalog import Download
from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.model import DownloadStatus

from matte_operator.domain.rollout.observation import ModelEvidence

#: seconds between two updates of the same download in a status
UPDATE_SECONDS = 5.0


def download_status(before: DownloadStatus | None, done: int, total: int, now: datetime) -> DownloadStatus | None:
    """The status for ``done`` of ``total`` bytes; ``before`` while it is recent enough, None while nothing is known."""
    if not total:
        return None
    if before and before.total_bytes == total:
        age = (now - datetime.fromisoformat(before.last_update_time)).total_seconds()
        if before.done_bytes == done or (done < total and age < UPDATE_SECONDS):
            return before
    percent = min(100 * done // total, 100)
    return DownloadStatus(done_bytes=done, total_bytes=total, percent=percent, last_update_time=format_time(now))


def download_statuses(
    evidence: ModelEvidence, before: Mapping[str, DownloadStatus | None], now: datetime
) -> dict[str, DownloadStatus]:
    """By version, with ``before`` from the versions' statuses.

    A router downloads a version to check it. A replica on another node downloads it again, and is what is waited for.
    """
    statuses = {}
    for version in evidence.checks.keys() | evidence.downloads.keys():
        check, download = evidence.checks.get(version), evidence.downloads.get(version, Download())
        if check and not download.total:
            download = Download(done=check.done, total=check.total)
        if status := download_status(before.get(version), download.done, download.total, now):
            statuses[version] = status
    return statuses


def with_steady_progress(evidence: ModelEvidence, statuses: Mapping[str, DownloadStatus]) -> ModelEvidence:
    """The evidence with the numbers of the statuses, so that messages change as seldom as these."""
    done = {version: status.done_bytes for version, status in statuses.items()}
    checks = {
        version: report.model_copy(update={"done": min(done.get(version, report.done), report.total)})
        for version, report in evidence.checks.items()
    }
    return replace(evidence, checks=checks)
