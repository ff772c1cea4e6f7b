"""What exists at the provider, whose it is, and what happened to it.

Owns        cloud_projects, project_members, project_creations, cloud_resources, cloud_resource_events, resource_links,
            bucket_measurements, syncs, held_syncs
Accepts     SyncInventory, RegisterResource, MeasureBucket, LinkResource, UnlinkResource, ClassifyProject,
            DecideHeldSync
Announces   the state of resources and projects, at every meaningful change
Invariants  a resource enters and changes by `intake.py` alone; its version moves with an event and never without;
            nothing is held to be gone on less than three complete walks; at most one walk of a kind counts; what a
            Kubernetes cluster made is attributed with it, and never by itself
Does not decide what a resource costs, what it should be (drift), or what a deployment may do

Beside the usual files: `kinds/` declares the kinds, `intake.py` is the one way by which what was seen is stored,
`round.py` is a sync, `walks.py` one of its walks, `told.py` walks what the provider lists nowhere by itself,
`projects.py` mirrors the projects and what is in them, `spaces.py` measures buckets, `attribution.py` brings the rule
of whose a resource is into the rows, and `history.py` writes what happened, into the table and onto the bus alike.
`provider.py` is the jobs' access to the provider, `steps.py` their transactions; `upkeep.py` keeps to the retentions
and tells everything again, `metrics.py` tells how fresh all is. Beside `store.py` (resources), the statements about
projects stand in `project_store.py`, those about walks and strikes in `sync_store.py`, those about whose resources are
in `attribution_store.py`.
"""
