"""Answers that are kept for running a statement again and for reuse: they may be lost, and must never be wrong.

The opposite of the ledger's contract, whose rows must never be lost. Knows no provider, statement or engine.
"""
