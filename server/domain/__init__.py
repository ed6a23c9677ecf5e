"""The operations of the core. Each takes values of `server.model` and uses `server.ports`; none knows gRPC or SQL."""
