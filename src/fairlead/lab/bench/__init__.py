"""Benchmarks against the peers, every number of a comparison measured in the same run."""
