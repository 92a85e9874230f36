"""A network and a data set of our own."""
