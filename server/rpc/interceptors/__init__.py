"""Interceptors of every call of the contract, one module per concern.

From the outside in: `call_context` (request id, principal and deadline), `error_translation` (errors to gRPC statuses),
`access_log` (one line per call), `admission` (limit of concurrent calls). `surround` is their common base.
"""
