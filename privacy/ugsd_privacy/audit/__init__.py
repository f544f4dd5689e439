"""The tamper-evident log of what left: tree, checkpoints, records, receipts."""
