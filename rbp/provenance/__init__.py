"""The version of the code that computed a result, and whether it is still the current code.

Modules: `code` (hashes the code of a run and detects stale results), `commits` (git commits), `imports`
(finds the modules that a module depends on, without running them), `module_location` (locates modules),
`syntax` (fingerprints of source files that ignore comments, docstrings and layout).
"""

from rbp.provenance.code import (
    code_version,
    git_commits,
    named_commits,
    own_roots,
    package_versions,
    why_stale,
)

__all__ = [
    "code_version",
    "git_commits",
    "named_commits",
    "own_roots",
    "package_versions",
    "why_stale",
]
