"""Gateways: the Services through which they are reached, and the statuses of Gateways and their routes."""
