"""Flow records, metrics and the naming of addresses."""
