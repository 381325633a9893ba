"""The snapshot of everything the model reads, and the fold that builds it from events."""
