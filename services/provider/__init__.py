"""Every write that is made at DigitalOcean, each once or not at all.

Owns        operations: the ledger of every write, by the id that names its effect
Accepts     CreateDroplet, AwaitDroplet, DestroyDroplet, PowerOffDroplet, PowerOnDroplet, ResizeDroplet,
            RenameDroplet, RetagDroplet, UpsertDnsRecord, RemoveDnsRecord, UndoOperation, SweepOrphans
Announces   the state of operations, at every change
Invariants  a write is noted down before it is sent, and not sent again before what it made must have come to light;
            what is refused has no effect, unless another message asks anew; what is undone takes none, however late it
            comes; one operation at a time reads and changes a droplet, or the records of one name and type; no secret
            is in the ledger
Does not decide what is to be created, or when: sagas and operators do

There is no `handlers.py`: each file is one kind of write from command to answer. `ledger.py` is the protocol that all
of them follow, `access.py` the way to the provider and the waits. `droplets.py` creates, awaits and destroys;
`course.py` brings a target from the state it is in into another, one write at a time: `actions.py` a droplet's power,
size and name, `tags.py` its tags, and `records.py` DNS. `undo.py` takes back. `orphans.py` looks for what was left all
the same, `upkeep.py` keeps to the retention and tells everything again.
"""
