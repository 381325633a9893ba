"""Deployments: ReplicaSets rolled from one template to the next."""
