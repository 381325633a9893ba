"""Middlewares of Traefik that Ingresses name, as what rules and policies do."""
