"""Health ports: tells load balancers whether this node has endpoints of a service."""
