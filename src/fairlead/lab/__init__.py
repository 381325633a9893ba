"""A cluster on one machine: namespaces for nodes, processes for pods."""
