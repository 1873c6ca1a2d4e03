"""The router of a pool: leases jobs, chooses versions, dispatches. Replicas get a ``route_plan.DispatchOptions``."""
