"""Which licenses a Pool takes: SPDX expressions against a list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_TOKEN = re.compile(r"[()]|[A-Za-z0-9.:+-]+")
_UNKNOWN = frozenset({"", "other", "unknown", "noassertion", "none"})


def license_refusal(license: str | None, allowed: Collection[str]) -> str | None:
    """Why a version with this license is refused, or None where it is taken. An empty list takes everything.

    ``OR`` takes what one side allows, ``AND`` needs both; ``GPL-2.0-only WITH Classpath-exception-2.0`` must be on the
    list as a whole. Letter case does not matter.
    """
    if not allowed:
        return None
    names = ", ".join(sorted(allowed))
    if license is None or license.strip().lower() in _UNKNOWN:
        return (
            f"the version does not say its license; allowed are {names}. Name it in matte.yaml (license) or the Model"
        )
    try:
        granted = _Expression(license, {" ".join(name.split()).lower() for name in allowed}).value()
    except ValueError as error:
        return f"the license {license!r} is not an SPDX expression ({error}); allowed are {names}"
    return None if granted else f"the license {license} is not allowed here; allowed are {names}"


class _Expression:
    """A recursive reading of ``or := and (OR and)*``, ``and := term (AND term)*``, ``term := (or) | id [WITH id]``."""

    def __init__(self, text: str, allowed: Collection[str]) -> None:
        if _TOKEN.sub("", text).strip():
            raise ValueError(f"{_TOKEN.sub('', text).strip()[:20]!r} has no place in it")
        self._tokens: Iterator[str] = iter([*_TOKEN.findall(text), ""])
        self._next, self._allowed = next(self._tokens), allowed

    def value(self) -> bool:
        granted = self._any()
        if self._next:
            raise ValueError(f"{self._next!r} is not expected")
        return granted

    def _take(self) -> str:
        taken, self._next = self._next, next(self._tokens, "")
        return taken

    def _any(self) -> bool:
        granted = self._all()
        while self._next.upper() == "OR":
            self._take()
            granted = self._all() or granted
        return granted

    def _all(self) -> bool:
        granted = self._term()
        while self._next.upper() == "AND":
            self._take()
            granted = self._term() and granted
        return granted

    def _term(self) -> bool:
        if self._next == "(":
            self._take()
            granted = self._any()
            if self._take() != ")":
                raise ValueError("a bracket is not closed")
            return granted
        name = self._name()
        if self._next.upper() == "WITH":
            self._take()
            name += f" with {self._name()}"
        return name.lower() in self._allowed

    def _name(self) -> str:
        name = self._take()
        if name.upper() in {"", "(", ")", "AND", "OR", "WITH"}:
            raise ValueError("a license is missing")
        return name
