"""What the provider charges.

Owns        cloud_balance_snapshots
Accepts     PollBalance
Announces   balances, at every poll
Invariants  a poll is one snapshot, however often its job runs; amounts are exact, in whole cents
Does not decide what anything should cost, or what of it is whose

Beside the usual files: `statement.py` reads the file of an invoice, line by line; `provider.py` is the jobs' access to
the provider; `upkeep.py` keeps to the retention, and tells the newest balance again.
"""
