"""Access to the disk for the blob stores: threads for blocking calls, the page cache, the directories of processes."""
