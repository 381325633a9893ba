"""What a cloud does for its load balancers: asks nodes for their health and spreads addresses over the healthy ones."""
