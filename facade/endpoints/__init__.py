"""One module for each service or resource of the API."""
