"""Fairlead: the whole network of a Kubernetes cluster as one program."""
