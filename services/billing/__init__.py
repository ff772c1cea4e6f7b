"""What the provider charges.

So far: `statement.py` reads the file of an invoice, line by line.
"""
