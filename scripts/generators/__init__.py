"""Writes the chart's generated files (CRDs, values, schema) from their contracts; no image carries it."""
