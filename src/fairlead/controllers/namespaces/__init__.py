"""Namespaces: what a deleted one holds goes first."""
