"""The rooms of the engine: imports go down only, so that each can be read without the ones above it."""

import ast
from pathlib import Path

import rbp.rate

FLOORS = (
    *(
        "errors",
        "memory",
        "rules",
        "neurons",
        "registry",
        "dispatch",
        "network",
        "dry_run",
        "layout",
        "passes",
    ),
    *("arguments", "distributed", "api", "verify"),
)
ENGINE = Path(rbp.rate.__file__).parent


def imported(file: Path) -> set[str]:
    """The full names of what a module imports from rbp."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rbp":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "rbp"}
    return found


def floor(name: str) -> int:
    return FLOORS.index(name.split(".")[2])


def modules() -> dict[str, Path]:
    below = ENGINE.parent.parent
    files = (file for file in ENGINE.rglob("*.py") if file != ENGINE / "__init__.py")
    return {".".join(file.relative_to(below).with_suffix("").parts): file for file in files}


def test_imports_go_down_only() -> None:
    upwards = [
        (name, other)
        for name, file in modules().items()
        for other in imported(file)
        if other.startswith("rbp.rate.") and floor(other) > floor(name)
    ]
    assert len(modules()) > 30 and not upwards


def test_the_engine_needs_nothing_else_of_rbp() -> None:
    others = {other for file in modules().values() for other in imported(file)}
    assert {other for other in others if not other.startswith("rbp.rate.")} == {"rbp.errors.UserError"}


def test_no_room_has_more_than_a_dozen_modules() -> None:
    rooms = {file.parent for file in modules().values()} - {ENGINE}
    assert rooms and all(len(list(room.glob("[!_]*.py"))) <= 12 for room in rooms)


def test_no_modules_of_a_room_import_each_other() -> None:
    """Directly or around: each order of reading ends."""
    names = set(modules())
    edges = {
        name: {other.rpartition(".")[0] if other not in names else other for other in imported(file)} & names
        for name, file in modules().items()
        if not name.endswith("__init__")
    }
    while edges:
        free = {name for name, others in edges.items() if not others & edges.keys() - {name}}
        assert free, f"a circle among {sorted(edges)}"
        edges = {name: others for name, others in edges.items() if name not in free}


def test_the_method_itself_is_short() -> None:
    """What a reader of the paper needs: rules of the paper's layers, and the neurons' eligibility."""
    rules = ("base", "weighted", "commuting", "batchnorm")
    neurons = ("eligibility", "scan", "surrogates", "integrate_and_fire")
    files = [ENGINE / "rules" / f"{name}.py" for name in rules]
    files += [ENGINE / "neurons" / f"{name}.py" for name in neurons]
    assert sum(len(file.read_text().splitlines()) for file in files) < 1000
