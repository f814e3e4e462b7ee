"""The ledger: durable state of studies, jobs, findings, objects and deliveries.

``schema`` has the tables, ``engine`` opens the database, and one module per noun has the statements, each a function of an
open transaction. Every stage transition is one transaction with its domain rows.
"""

from egfr_dls.ledger.engine import Ledger, Tx

__all__ = ["Ledger", "Tx"]
