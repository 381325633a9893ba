"""The node agent: the network of one node, and the CNI plugin's server."""
