"""Sending files to the core: which ones, in which messages, over how many streams, and what became of them."""
