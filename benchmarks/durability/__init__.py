"""What of the receive path's promise survives: SIGKILL at any moment, a power failure, a full or failing disk."""
