from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """Base of all contracts: immutable, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
