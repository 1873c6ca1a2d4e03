"""Which representation a caller wants: content negotiation by ``Accept`` and ``Accept-Encoding`` (RFC 9110, 12.5)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def best(accept: str, offers: Sequence[str]) -> str | None:
    """The offer with the highest quality, the first of several; None where none is acceptable.

    Args:
        accept: the header's lines, joined by commas. '': everything is acceptable.
        offers: media types, or codings, that the server has, the one it prefers first.
    """
    ranges = _ranges(accept)
    if not ranges:
        return offers[0]
    quality = {offer: _quality(offer, ranges) for offer in offers}
    found = max(offers, key=quality.__getitem__)  # the first one of equals
    return found if quality[found] > 0 else None


def _quality(offer: str, ranges: dict[str, float]) -> float:
    """That of the most specific range which has it; 0: none has."""
    for wide in (offer, f"{offer.partition('/')[0]}/*", "*/*", "*"):
        if wide in ranges:
            return ranges[wide]
    return 0.0


def _ranges(accept: str) -> dict[str, float]:
    """Qualities by range. What cannot be read is left out; parameters other than ``q`` change nothing here, as no
    representation has any.
    """
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        quality = next((text[2:].strip() for text in parameters if text.startswith("q=")), "1")
        if name and _QUALITY.fullmatch(quality):
            found[name] = max(float(quality), found.get(name, 0.0))
    return found
