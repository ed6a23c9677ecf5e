"""Share links: paths with a token instead of an Authorization header, their management, and pages for recipients."""
