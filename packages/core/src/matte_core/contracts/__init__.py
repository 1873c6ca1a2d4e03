"""Types that cross a process: jobs, events, options, the catalog of models."""
