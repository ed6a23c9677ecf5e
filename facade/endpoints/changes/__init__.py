"""The change feed as a stream of events, and its consumers."""
