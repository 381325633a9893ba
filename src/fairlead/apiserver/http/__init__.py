"""How requests come in and answers go out: connections, requests, negotiation, errors."""
