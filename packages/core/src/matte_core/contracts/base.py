"""The base of every contract."""

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """Immutable, and closed: a field nobody knows is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
