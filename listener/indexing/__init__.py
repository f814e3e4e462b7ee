"""Behind the receivers: the ledger is filled from the spool, and what follows from it is decided."""
