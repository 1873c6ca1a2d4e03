"""What decides whether spans are recorded: OpenTelemetry's own variables. The SDK reads all others itself."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class TracingSettings(BaseSettings):
    """https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/"""

    model_config = SettingsConfigDict(env_prefix="OTEL_", extra="ignore")

    sdk_disabled: str = ""
    traces_exporter: str = "otlp"
    exporter_otlp_endpoint: str = Field("", description="such as http://collector:4318")
    exporter_otlp_traces_endpoint: str = ""

    @property
    def enabled(self) -> bool:
        endpoint = self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        return bool(endpoint) and self.sdk_disabled.lower() != "true" and self.traces_exporter != "none"
