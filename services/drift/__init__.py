"""Where what is differs from what was asked for.

Owns        cloud_provisioned (the spec: what each resource is to be), cloud_drift with its history, drift_rules,
            surges, sizes; its own copies of resources as they were seen, and of the sagas that change them
Accepts     RecordSpec, RetireSpec, DetectDrift, AcceptDrift, RevertDrift, SnoozeDrift, AcceptSurge, SetRule, RemoveRule
Announces   findings (drifts), surges, specs
Invariants  at most one drift is open of a field of a resource; whoever changes a spec, or opens, changes, accepts or
            reverts a drift, has locked the spec of its resource before; nothing is compared while a saga changes it,
            nor with what was seen before a saga had done what the spec says; a drift is over when nothing is to be seen
            of it, however often it is looked
Does not decide what is asked for (sagas and operators do), or how it is brought about (sagas do)

Beside the usual files: `watching.py` takes in what others tell, `detection.py` compares, `specs.py` has what operators
say of specs, `outside.py` what the jobs ask outside. The statements about drifts stand in `finding_store.py`, those
about surges in `surge_store.py`; `upkeep.py` has what happens by itself, `metrics.py` what is measured.
"""
