"""Rows of the gateway, in the proxy's terms: a row is one resource of the proxy, so that what changed is one row."""
