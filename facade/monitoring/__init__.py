"""Metrics of the archive in the formats of Prometheus and OpenMetrics, and as JSON."""
