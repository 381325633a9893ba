"""What the network should be: pure functions from a snapshot to a plan."""
