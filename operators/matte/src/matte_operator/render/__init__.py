"""Kubernetes objects and Serve configurations, rendered from the contracts; pure."""
