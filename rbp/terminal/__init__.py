"""What is printed for the user.

`output` says lines, `wrapping` breaks them within the width of a terminal, `tables` lays out numbers.
"""
