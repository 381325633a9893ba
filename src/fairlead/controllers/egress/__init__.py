"""Status of egress gateways."""
