"""What exists at the provider, whose it is, and what happened to it.

Owns        cloud_projects, project_members, project_creations, cloud_resources, cloud_resource_events, resource_links,
            syncs, held_syncs
Accepts     SyncInventory, RegisterResource, LinkResource, UnlinkResource, ClassifyProject, DecideHeldSync
Announces   the state of resources and projects, at every meaningful change
Invariants  a resource enters and changes by `intake.py` alone; its version moves with an event and never without;
            nothing is held to be gone on less than three complete walks; at most one walk of a kind counts
Does not decide what a resource costs, what it should be (drift), or what a deployment may do

Beside the usual files: `kinds.py` declares the kinds, `intake.py` is the one way by which what was seen is stored,
`walks.py` walks the provider (the job SyncInventory), `projects.py` mirrors the projects and what is in them, and
`history.py` writes what happened, into the table and onto the bus alike. `provider.py` is the jobs' access to the
provider, `steps.py` their transactions; `upkeep.py` keeps to the retentions and tells everything again. Beside
`store.py` (resources), the statements about projects stand in `project_store.py`, those about walks and strikes in
`sync_store.py`.
"""
