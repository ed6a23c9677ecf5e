"""The audit trail as append-only files with hash chains and signed checkpoints. README.md in the parent has the format.

From the bottom: `log_lines` (chained records in a file), `keys` and `checkpoints` (the signed list of checkpoints),
`log_writer` (the files of one process), `group_commit` (its thread), `reading`, `verification`, `trail` (the port).
"""
