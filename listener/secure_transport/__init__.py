"""TLS: certificates, and connections through it (PS3.15 Annex B)."""
