"""PodDisruptionBudgets: how many pods may go at once."""
