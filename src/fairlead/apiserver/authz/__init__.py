"""Who may do what: roles and their bindings, the rights of nodes, and what a cluster grants from its beginning."""
