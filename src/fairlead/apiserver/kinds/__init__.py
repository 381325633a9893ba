"""What the API server knows of each built-in kind: its names, types, defaults, rules, table columns and documents."""
