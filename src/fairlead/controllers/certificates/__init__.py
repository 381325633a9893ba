"""Certificates for those whose requests were approved."""
