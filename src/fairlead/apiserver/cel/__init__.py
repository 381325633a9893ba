"""The Common Expression Language as the Kubernetes API uses it: parsed once, checked against a schema, evaluated within a budget.

Our own, because no library offers optional fields (`self.?x`), the Kubernetes functions and above all a bound on what a rule may cost:
rules come from users. Sources: the CEL specification (google/cel-spec), Kubernetes' CEL libraries. It must never do I/O.
"""
