"""The HTTP server: connections and their limits, admission, TLS, request ids and log lines."""
