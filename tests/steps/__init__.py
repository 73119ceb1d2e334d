"""What `tests/run` is made of: the steps of each part, how a step is run, and what its output says."""
