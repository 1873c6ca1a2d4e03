"""The operator: Pools and Models become RayServices. It watches, asks a pure ``decide``, and applies what it says."""
