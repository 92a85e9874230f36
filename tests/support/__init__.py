"""Helpers that the tests of several folders share: configs, data sets, run folders, networks, processes.

Test modules import from here and never from one another. Fixtures for everybody are in tests/conftest.py.
"""
