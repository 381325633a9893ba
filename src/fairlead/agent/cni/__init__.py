"""The Container Network Interface: what a container runtime asks of this node's agent."""
