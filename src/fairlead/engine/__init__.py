"""The loop between a plan and its drivers: order, receipts, health."""
