"""Pure values that every layer shares: addresses, selectors, ids, errors."""
