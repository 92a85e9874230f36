"""Which code computed a result, and whether that is still the code at hand.

`code` names the code of a run and tells stale results; `imports` finds the modules that it stands on, without
running them; `syntax` tells whether a file has changed in what it does.
"""

from rbp.provenance.code import code_version, package_versions, why_stale

__all__ = ["code_version", "package_versions", "why_stale"]
