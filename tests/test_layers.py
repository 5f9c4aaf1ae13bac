"""Each layer imports only from those before it, lazy imports included."""

import ast
from pathlib import Path

import functrans

LAYERS = [
    "version", "errors", "config", "tree", "core", "ops", "numpy", "transforms", "control", "nn", "compile", "scipy", "cache",
    "debug", "inspect", "testing", "torch",
]  # fmt: skip
# And those of the compiler.
STAGES = ["loops", "arguments", "machine", "rewrite", "schedule", "emit", "store", "run", "options", "jit", "eager"]
ROOT = Path(functrans.__file__).parent


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("functrans"):
            for alias in node.names:
                submodule = ROOT.joinpath(*node.module.split(".")[1:], f"{alias.name}.py").exists()
                yield f"{node.module}.{alias.name}" if submodule or node.module == "functrans" else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("functrans"))


def layer_of(module):
    """The place of a module among the layers, and in the compiler among its stages."""
    _, layer, *inner = module.split(".")
    return LAYERS.index(layer), STAGES.index(inner[0]) if layer == "compile" and inner else 0


def test_imports_point_downward():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts == ("__init__",):
            continue
        own = layer_of(".".join(("functrans", *(part for part in parts if part != "__init__"))))
        wrong += [f"{path.relative_to(ROOT)} imports {m}" for m in imported_modules(path) if layer_of(m) > own]
    assert wrong == []


def test_modules_do_not_import_each_other_in_circles():
    graph = {}
    for path in ROOT.rglob("*.py"):
        name = ".".join(("functrans", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        graph[name] = set(imported_modules(path)) - {name}
    graph.pop("functrans")
    while graph:
        leaves = [name for name, imports in graph.items() if not imports & graph.keys()]
        assert leaves, f"a circle among {sorted(graph)}"
        for name in leaves:
            del graph[name]
