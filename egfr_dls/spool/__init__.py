"""The spool: where received instances are durable before the sender hears 0000H."""

from egfr_dls.spool.directory import AssociationReleased, DirectorySpool, Spool, SpooledRecord, SpoolWriteError

__all__ = ["AssociationReleased", "DirectorySpool", "Spool", "SpoolWriteError", "SpooledRecord"]
