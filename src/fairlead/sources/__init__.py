"""Where objects come from: a Kubernetes API server, files."""
