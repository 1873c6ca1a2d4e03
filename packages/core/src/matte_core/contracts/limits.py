from pydantic import Field

from matte_core.contracts.base import Contract


class Limits(Contract):
    """Limits on one request; the body of ``GET /v1/limits``."""

    max_bytes: int = Field(30_000_000, description="of one picture, and of all pictures of one request")
    max_pixels: int = Field(50_000_000, description="width × height")
    max_side: int = Field(30_000, description="pixels")
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "HEIC", "AVIF", "BMP", "TIFF", "GIF")
    max_queue_length: int = Field(200_000, description="jobs per model; more are refused with 429")
    max_wait_seconds: float = Field(600.0, description="maximum wait of a synchronous call")
    job_ttl_seconds: float = Field(3600.0, description="a job that waited this long expires")
    result_ttl_seconds: float = Field(3600.0, description="how long a result is kept")
