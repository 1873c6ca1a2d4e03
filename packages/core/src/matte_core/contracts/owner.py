"""Whose jobs, uploads and sessions they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """To everybody but its owner, a job, an upload or a session does not exist.

    All anonymous callers are one owner: among them an id, which nobody can guess, is what gives access.
    """

    tenant: str = "anonymous"
    user: str = ""

    @property
    def scope(self) -> str:
        """Hexadecimal digits that stand for the owner where its name must not; '' for the anonymous one."""
        return "" if self == ANONYMOUS else self.digest()

    def scoped(self, name: str) -> str:
        """A name of the owner's; no other owner has it as long as names have no colon."""
        return f"{self.scope}:{name}" if self.scope else name

    def digest(self, name: str = "") -> str:
        """32 hexadecimal digits that no other owner has for any name."""
        parts = json.dumps([self.tenant, self.user, name])
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


ANONYMOUS = Owner()
