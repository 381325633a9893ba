"""Network policies of all kinds, compiled to the same rows."""
