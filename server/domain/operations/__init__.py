"""Long-running operations: their types (`types`), states (`lifecycle`), the service for clients (`service`), the worker
(`work`), and the part of a serving process (`watch`). Each type has its own module, such as `reindex`."""
