from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a job, an upload or a session. To everybody else, it does not exist.

    All anonymous callers are one owner: among them, knowing the unguessable id is what gives access.
    """

    tenant: str = "anonymous"
    user: str = ""

    @property
    def scope(self) -> str:
        """32 hexadecimal digits that stand for the owner; '' for the anonymous one."""
        return "" if self == ANONYMOUS else self.digest()

    def scoped(self, name: str) -> str:
        """``name`` made unique to this owner, as long as names have no colon."""
        return f"{self.scope}:{name}" if self.scope else name

    def digest(self, name: str = "") -> str:
        """32 hexadecimal digits, unique to the owner and the name."""
        parts = json.dumps([self.tenant, self.user, name])
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


ANONYMOUS = Owner()
