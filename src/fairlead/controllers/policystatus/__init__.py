"""What became of each policy, from what the nodes report."""
