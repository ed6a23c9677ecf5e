"""Long-running operations: their types (`types`), states (`lifecycle`), what clients do with them (`service`), what a
worker does (`work`), and what a serving process does so that they are worked on (`watch`). Each type is a module of its
own, such as `reindex`."""
