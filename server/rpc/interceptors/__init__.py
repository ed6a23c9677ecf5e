"""Interceptors: what happens to every call of the contract before and after its handler, one concern a module.

From the outside in: `call_context` (request id, principal and deadline), `error_translation` (errors to gRPC statuses),
`access_log` (one line a call), `admission` (the number of calls at once). `surround` is what they have in common.
"""
