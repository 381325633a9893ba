"""What the server remembers: objects, their revisions, and who is told of changes."""
