"""What takes many steps: each a command to some service, and what undoes it.

Owns        saga_runs, saga_step_results
Accepts     StartSaga, CancelSaga, RetrySaga; and Echo, Unecho, Fail, which exercise the engine
Announces   runs, when their status changes
Invariants  a run's next command, its ledger and its state are one transaction; an answer takes effect once; a step that
            is done, or may be, is undone at most once, and none before those after it; a deployment has at most one
            unfinished run; a run goes by the version of its flow with which it began
Does not decide how a step is done, or whether it may be: the service that is asked does

Beside the usual files: `flows.py` has the steps of each kind of run, `upkeep.py` tells everything again. `domain.py` is
the engine.
"""
