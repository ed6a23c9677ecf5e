"""The OpenAPI 3.1 document of the service: paths from the routes, and tables of parameters, bodies and statuses."""
