"""Proofs over plans, from an oracle that shares no code with the model."""
