"""``matte traffic drive``: pictures at a steady rate while weights move, and what the clients really saw."""
