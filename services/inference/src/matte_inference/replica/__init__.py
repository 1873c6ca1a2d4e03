"""A replica of a model version: fetches, decodes, forwards in batches, encodes and stores the pictures of jobs."""
