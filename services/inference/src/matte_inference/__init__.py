"""Inference on Ray Serve: one application per model version, and a router that pulls jobs when a replica is free."""
