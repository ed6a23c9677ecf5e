"""The database itself: tables, threads and transactions, prepared statements, counters, clock and identity."""
