"""What is checked before any run starts; no run starts and no run folder is created.

Modules: `checks` (which checks a run needs, each once for all runs that it is the same for), `places` (folder
and device), `network` (network, optimizer and a trial step).
"""

from rbp.sweep.preflight.checks import preflight

__all__ = ["preflight"]
