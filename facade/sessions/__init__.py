"""Browser sessions: login at an identity provider or with a login link, and the encrypted cookie of a session."""
