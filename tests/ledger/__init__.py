"""Two services that exist for tests only: `ledger` books deposits to accounts, `mirror` projects the accounts.

Small enough to know what must come out: after any number of crashes, each deposit is booked once, and each mirrored
account equals the ledger's.
"""
