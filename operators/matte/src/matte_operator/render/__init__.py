"""Manifests of what a Pool becomes: its RayService, the pods in it, and Ray Serve's configuration."""
