"""Wire types of the Kubernetes API and the names of its resources."""
