"""The HTTP server: connections and their limits, admission, CORS, request ids and log lines."""
