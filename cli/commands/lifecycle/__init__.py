"""Commands for the life cycle of stored instances: updating them, holds, and restoring deleted ones."""
