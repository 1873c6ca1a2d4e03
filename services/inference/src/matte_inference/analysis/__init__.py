"""Comparison of masks, and the golden images: the evidence that a new version is judged by."""
