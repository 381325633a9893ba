"""One package per kind of kernel or server state: observe, diff, apply."""
