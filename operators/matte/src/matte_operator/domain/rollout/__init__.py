"""How a new version takes over from the stable one: phases, verdicts, weights and replicas."""
