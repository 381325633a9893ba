"""A stand-in for the agnhost image: the commands that network tests run inside pods."""
