"""Values that every layer shares: identifiers, instances, errors, queries. No I/O and no imports of other layers."""
