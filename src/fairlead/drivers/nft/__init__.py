"""The nftables driver: Services, masquerade and anti-spoofing as elements of sets and maps under static chains."""
