"""The Storage Service Class as SCP (PS3.4 Annex B): one instance from its first byte to its answer."""
