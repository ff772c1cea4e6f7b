"""What the services know about each other: messages, topics, states, money. Nothing here does I/O.

Start with `message.py` (what a message is), then one file per service. `registry.py` lists them all.
"""
