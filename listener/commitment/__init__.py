"""The Storage Commitment Service Class, Push Model, as SCP (PS3.4 Annex J)."""
