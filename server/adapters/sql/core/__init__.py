"""The database itself: threads and transactions, prepared statements, counters, clock and identity."""
