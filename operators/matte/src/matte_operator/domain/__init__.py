"""What the operator decides, as pure functions of typed observations and the time. No API calls and no rendering."""
