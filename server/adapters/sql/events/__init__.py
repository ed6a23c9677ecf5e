"""Events of studies, webhooks, and leases."""
