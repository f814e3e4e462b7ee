"""Results of tissue tests, as sites write them."""
