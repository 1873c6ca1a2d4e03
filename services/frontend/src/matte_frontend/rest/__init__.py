"""The REST interface: plain Starlette handlers, described by hand in ``openapi``."""
