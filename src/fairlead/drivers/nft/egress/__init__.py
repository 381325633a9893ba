"""Egress gateways in nf_tables: marks for pods' packets that leave the cluster, and the source that they leave with."""
