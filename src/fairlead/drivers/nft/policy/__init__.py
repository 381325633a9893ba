"""Network policy in a table of its own; docs/design/policy.md draws it."""
