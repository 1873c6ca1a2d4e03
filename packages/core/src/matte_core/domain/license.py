"""License policy of a Pool: SPDX expressions against a list of allowed licenses."""

from __future__ import annotations

import re
from collections.abc import Collection

_TOKEN = re.compile(r"[()]|[A-Za-z0-9.:+-]+")
_UNKNOWN = frozenset({"", "other", "unknown", "noassertion", "none"})
_KEYWORDS = frozenset({"", "(", ")", "AND", "OR", "WITH"})


def license_refusal(license: str | None, allowed: Collection[str]) -> str | None:
    """Why a version with this license is refused, or None if it is allowed. An empty list allows everything.

    ``A OR B`` needs one of the two, ``A AND B`` both; ``GPL-2.0-only WITH Classpath-exception-2.0`` must be on the list
    as a whole. Letter case does not matter.
    """
    if not allowed:
        return None
    names = ", ".join(sorted(allowed))
    if license is None or license.strip().lower() in _UNKNOWN:
        unnamed = "the version does not say its license"
        return f"{unnamed}; allowed are {names}. Name it in matte.yaml (license) or the Model"
    try:
        granted = _Evaluator(license, {" ".join(name.split()).lower() for name in allowed}).evaluate()
    except ValueError as error:
        return f"the license {license!r} is not an SPDX expression ({error}); allowed are {names}"
    return None if granted else f"the license {license} is not allowed here; allowed are {names}"


class _Evaluator:
    """Recursive descent: ``or := and (OR and)*``, ``and := term (AND term)*``, ``term := (or) | id [WITH id]``."""

    def __init__(self, text: str, allowed: Collection[str]) -> None:
        if rest := _TOKEN.sub("", text).strip():
            raise ValueError(f"{rest[:20]!r} has no place in it")
        self._tokens: list[str] = [*_TOKEN.findall(text), ""]
        self._allowed = allowed

    def evaluate(self) -> bool:
        granted = self._or()
        if self._tokens[0]:
            raise ValueError(f"{self._tokens[0]!r} is not expected")
        return granted

    def _accept(self, keyword: str) -> bool:
        if self._tokens[0].upper() != keyword:
            return False
        self._tokens.pop(0)
        return True

    def _or(self) -> bool:
        granted = self._and()
        while self._accept("OR"):
            granted = self._and() or granted
        return granted

    def _and(self) -> bool:
        granted = self._term()
        while self._accept("AND"):
            granted = self._term() and granted
        return granted

    def _term(self) -> bool:
        if self._accept("("):
            granted = self._or()
            if not self._accept(")"):
                raise ValueError("a bracket is not closed")
            return granted
        name = self._id()
        if self._accept("WITH"):
            name += f" with {self._id()}"
        return name.lower() in self._allowed

    def _id(self) -> str:
        if self._tokens[0].upper() in _KEYWORDS:
            raise ValueError("a license is missing")
        return self._tokens.pop(0)
