"""The tamper-evident log of egress: records, checkpoints, receipts, export and verification."""
