"""The direction of imports, and what a capsule may carry."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gage._internal.portable import carried

SRC = Path(__file__).parents[2] / "src"

# From the bottom up: a layer imports itself and those before it.
BASE = ("types", "errors", "fs", "proc", "clock", "cores", "caches", "lock_files")
LAYERS = (
    *((name,) for name in ("errors", "types", "clock", "proc", "fs", "cores")),
    *((name,) for name in ("caches", "lock_files")),
    ("store",),
    ("environments",),
    ("downloads",),
    ("portable",),
    ("catalog",),
    ("project",),
    ("lifecycle",),
    ("runner",),
    ("resolvers", "runtimes", "engines", "remotes"),
    ("board",),
    ("run_util", "api"),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# What a runner elsewhere has: nothing but this and the standard library.
CARRIED = ("gage._internal.lifecycle.start", "gage._internal.runner.main")


# The last two are children that have not become a command, or never do.
EXITING = (
    *("gage.__main__", "gage._internal.cli.main"),
    *("gage._internal.lifecycle.isolation.child", "gage._internal.lifecycle.queue_child"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SRC.glob("gage/**/*.py"))}


def imports_of(module: str) -> set[str]:
    """Return the modules that a module imports, wherever in it."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{above}.{base}".rstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in MODULES else base)
    return found


def layer_of(module: str) -> str:
    return module.removeprefix("gage._internal.").split(".")[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("gage._internal.")])
def test_imports_point_downwards(module: str) -> None:
    layer = layer_of(module)
    for imported in imports_of(module):
        if imported.startswith("gage._internal."):
            below = layer_of(imported)
            assert below == layer or RANK[below] < RANK[layer], f"{module} imports {imported}"


@pytest.mark.parametrize(
    "module", [m for m in MODULES if layer_of(m) in ("resolvers", "runtimes", "engines", "remotes")]
)
def test_plugins_do_not_know_each_other(module: str) -> None:
    package = module.rpartition(".")[0]
    siblings = {m for m in imports_of(module) if m.startswith(package + ".") and m != module}
    assert not siblings


def carried_modules() -> set[str]:
    found: set[str] = set()
    waiting = [*CARRIED, *(m for m in MODULES if layer_of(m) in (*BASE, "store"))]
    while waiting:
        module = waiting.pop()
        if module in MODULES and module not in found:
            found.add(module)
            # What the public functions need is imported when they are called.
            waiting.extend(imports_of(module) if module != "gage" else ())
            waiting.append(module.rpartition(".")[0])
    return found


@pytest.mark.parametrize("module", sorted(carried_modules()))
def test_what_a_capsule_carries_needs_the_standard_library_only(module: str) -> None:
    foreign = {
        imported
        for imported in imports_of(module)
        if imported.split(".")[0] not in (*sys.stdlib_module_names, "gage")
    }
    assert not foreign


def test_what_a_capsule_carries_is_base_store_environments_and_start() -> None:
    """Starting a run drags in nothing that knows projects, catalogs or command lines."""
    layers = {layer_of(module) for module in carried_modules() if "._internal." in module}
    assert layers == {*BASE, "store", "environments", "portable", "lifecycle", "runner"}


def test_a_runner_has_all_that_it_imports() -> None:
    assert sorted(carried.MODULES) == sorted(carried_modules())


def test_base_imports_nothing_above_it() -> None:
    for module in MODULES:
        if layer_of(module) in BASE:
            above = {layer_of(m) for m in imports_of(module) if m.startswith("gage._internal.")}
            assert above <= set(BASE), module


def test_the_carried_modules_parse_as_python_3_9() -> None:
    for module in carried_modules():
        ast.parse(MODULES[module].read_text(encoding="utf-8"), feature_version=(3, 9))


def test_importing_gage_imports_little() -> None:
    code = "import sys, gage; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    heavy = {"dataclasses", "subprocess", "json", "argparse", "rich", "asyncio", "tomllib"}
    assert not modules & heavy
    assert not [module for module in modules if module.startswith("gage._internal.")]


def test_there_are_no_star_imports_and_no_drawers() -> None:
    drawers = {"util", "utils", "helpers", "common", "misc"}
    for module, path in MODULES.items():
        assert not drawers & set(module.split(".")), module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), module


def test_only_the_printer_prints_and_only_main_exits() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print" or module == "gage._internal.cli.printer", module
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.exit", "os._exit"):
                assert module in EXITING, module
