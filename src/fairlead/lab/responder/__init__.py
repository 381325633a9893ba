"""The built-in responder: what answers in place of an image that cannot be pulled."""
