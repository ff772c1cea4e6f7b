"""`make demo`: the system at work, told as a story, on a stack of its own. Nothing it does leaves this machine.

`stage.py` starts and stops everything; `story.py` is what happens; `screen.py` is how it looks.
"""
