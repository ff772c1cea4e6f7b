"""What takes many steps: each a command to some service, and what undoes it.

Owns        saga_runs, saga_step_results
Accepts     StartSaga, CancelSaga, RetrySaga, WriteOffSaga; and Echo, Unecho, Fail, which exercise the engine
Announces   runs, when their status changes
Invariants  a run's next command, its ledger and its state are one transaction; an answer takes effect once; a step that
            is done, or may be, is undone at most once, and none before those after it; a deployment has at most one
            unfinished run; a run goes by the version of its flow with which it began
Does not decide how a step is done, or whether it may be: the service that is asked does

`domain.py` is the engine, and `signals.py` has what is said to it. Beside the usual files: `flows.py` lists the flows,
and `flow.py` says what one is;
`deployments.py` has those about deployments, of the steps in `steps.py`; `exercise.py` has one that needs nobody.
`memory.py` remembers what need not be read again, `upkeep.py` tells everything again.
"""
