"""The upper layer (PS3.8) and the messages (PS3.7): from a TCP connection to DIMSE messages and back."""
