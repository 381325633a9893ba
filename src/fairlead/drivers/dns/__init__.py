"""Cluster DNS on the node: the plan's records, answered where the pods are."""
