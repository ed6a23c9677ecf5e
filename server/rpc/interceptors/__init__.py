"""Interceptors of every call of the contract, one module per concern.

From the outside in: `call_context` (request id, principal and deadline), `error_translation` (errors to gRPC statuses),
`access_log` (one line per call) or `auditing` (that, and the audit trail), `authentication` (the principal, and whether
it may perform the action of the rpc at all), `principal_limits` (limits of each principal), `admission` (limit of
concurrent calls, with fair shares). `surround` is their common base, `declared_actions` what the contract declares.
"""
