"""How a new version takes over from a stable one: phases, verdicts, capacity."""
