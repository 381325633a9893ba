"""Cluster addresses and node ports of Services: who holds which."""
