"""Who asks: certificates, tokens of ServiceAccounts, and those in whose name somebody else asks."""
