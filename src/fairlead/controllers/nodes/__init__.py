"""Nodes: what happens when one falls silent or goes."""
