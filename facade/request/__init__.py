"""What a request asks for: resource, query, range, and acceptable media types and transfer syntaxes."""
