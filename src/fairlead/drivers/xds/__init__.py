"""Makes the node's Envoy do what the plan's gateway rows say: translation, the xDS server, and the process itself."""
