"""Sends commands by the clock.

Owns        slots: when each schedule is due next
Accepts     nothing
Announces   nothing; it sends the commands that `schedules.py` names
Invariants  a slot's command goes out once, however many replicas run: the slot's row is locked, the command is in the
            outbox and the next slot is written in one transaction, and the command's id follows from the slot
Does not decide whether a command is still worth doing: that is said by its `expires`, and judged by its receiver

There is no `domain.py`: its rules are a schedule's own, in `schedules.py`.
"""
