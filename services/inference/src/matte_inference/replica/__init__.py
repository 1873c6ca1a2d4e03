"""A replica of a model version: fetch, decode, forward in batches, encode, store."""
