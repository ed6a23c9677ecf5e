"""A randomised run of faults against a whole archive with clients: `python -m tests.torture`, or `make torture`."""
