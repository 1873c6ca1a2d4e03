"""Pure rules: queue order, routing, states, waiting times, versions."""
