"""Pydantic models of what crosses a process boundary: jobs, options, the catalog, evidence, Kubernetes objects."""
