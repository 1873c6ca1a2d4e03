"""The router: takes jobs from the queue when a replica is free, picks the version, hands over a reference."""
