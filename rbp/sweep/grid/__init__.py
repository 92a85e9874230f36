"""What a grid is: from a command line and a sweep file to the frozen config of every cell."""
