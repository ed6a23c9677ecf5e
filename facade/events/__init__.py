"""Events of studies, and webhooks."""
