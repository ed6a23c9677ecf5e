"""The operations of the core. They use values of `server.model` and `server.ports`, independent of gRPC and SQL."""
