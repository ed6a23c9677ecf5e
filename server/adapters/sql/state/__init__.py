"""The state of the whole archive in the index: its identity, and the clock for deadlines."""
