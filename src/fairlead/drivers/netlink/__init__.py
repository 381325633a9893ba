"""Links, addresses, routes, neighbors, forwarding entries and sysctls of the node and its pods."""
