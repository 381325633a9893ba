"""StatefulSets: pods with names, in order."""
