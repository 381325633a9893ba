"""Connection tracking: forgets connections whose endpoint went."""
