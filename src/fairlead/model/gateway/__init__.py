"""What the gateway's objects mean: which routes attach where, and the rows that the node's proxy follows."""
