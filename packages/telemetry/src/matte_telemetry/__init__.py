"""Traces and metrics of every program: set up here, named here."""
