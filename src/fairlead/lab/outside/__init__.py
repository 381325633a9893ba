"""The internet of a lab: an outside DNS server and a web server, reachable from pods."""
