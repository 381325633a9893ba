"""Policy semantics from the specifications alone, evaluated naively, packet by packet."""
