"""What the operator decides, as pure functions: states and times come in, decisions go out."""
