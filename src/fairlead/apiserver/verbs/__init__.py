"""What each request does to the store."""
