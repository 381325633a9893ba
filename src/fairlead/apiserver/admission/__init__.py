"""What is filled in and refused between decoding a request and storing its object."""
