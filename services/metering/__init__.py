"""What is used.

Owns        usage_records (with what was observed before corrections), usage_reports, usage_conflicts, usage_days,
            metering_config, metered_days; its own copies of resources, whose they are and were, and of deployments
Accepts     MeterDay, SetMeteringConfig, RecordUsage
Announces   usage: a deployment's day of a billing kind, at every change
Invariants  an observation is there once, and a report counts once, for good; a day metered again, in whatever order and
            however often, gives the same; what was corrected is kept; a full month of shares is the whole exactly; a
            day is metered when all is known that was on the bus when that was asked for
Does not decide what use costs

Beside the usual files: `metering.py` observes a day; `reports.py` takes in what is reported, with `report_store.py` for
its statements; `upkeep.py` tells of usage, has days metered again, forgets by `retention_store.py`, and tells the state
again.
"""
