"""What the kernel tells of packets. It must never change anything."""
