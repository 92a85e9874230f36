"""Which code a result depends on."""
