"""Work that the core does by itself: garbage collection, compaction, scrubbing, audit, and recovery of a lost index."""
