"""The way from the host's loopback to a lab's Gateways."""
