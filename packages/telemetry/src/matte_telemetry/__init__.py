"""How every program makes logs, spans and metrics. Which metrics a program has, it declares itself."""

__all__ = ["attributes", "logs", "metrics", "prometheus", "tracing"]
