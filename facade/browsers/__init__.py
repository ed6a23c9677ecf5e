"""Browsers: which hosts and origins belong to the service, CORS, and requests that pages of other sites send."""
