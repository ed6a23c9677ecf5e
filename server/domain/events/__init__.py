"""Events of studies, which follow from the change feed, and their delivery to webhooks (docs/events.md)."""
