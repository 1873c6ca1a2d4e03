"""Contracts rendered as the files that others read."""
