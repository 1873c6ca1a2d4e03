"""Versions as people write them: exact, or the start of one (1, 1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import semver

_PREFIX = re.compile(r"v?([0-9]{1,19})(?:\.([0-9]{1,19}))?")


def matching_versions(asked: str, available: Iterable[str]) -> list[str]:
    """The available versions that ``asked`` names, the highest first.

    ``asked`` is an exact SemVer version, or a major (``1``, ``v1``) or minor (``1.2``) one; pre-releases are found
    only by their exact name.
    """
    versions = list(available)
    if asked in versions:
        return [asked]
    found = _PREFIX.fullmatch(asked)
    if not found:
        return []
    parsed = [version for text in versions if not (version := semver.Version.parse(text)).prerelease]
    major, minor = int(found[1]), found[2]
    within = [v for v in parsed if v.major == major and (minor is None or v.minor == int(minor))]
    return [str(version) for version in sorted(within, reverse=True)]
