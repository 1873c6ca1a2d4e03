"""What Matte costs over the bare model, measured beside it in one run."""
