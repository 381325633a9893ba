"""The desired state of one node as keyed tables of frozen rows, and its canonical text."""
