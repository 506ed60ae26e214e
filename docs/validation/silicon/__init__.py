"""A finished silicon campaign against the numbers of the DFT code that labelled it.

``python -m silicon workflows/silicon-espresso.yaml`` (or ``make validate``) measures the campaign's
model against DFT labels on frames that it has not seen, and compares equation of state, elastic
constants, phonons and vacancies. Both sides go through the same functions: what differs is who
evaluates the structures.
"""
