"""The part of a command in which it gets ready: the imports of a Python program.

They are executed as the program would, with the same interpreter and options, from the same
directory, and nothing else of it is. Imports that a `try` surrounds count too: the program may do
without, and says so itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gage._internal.lifecycle.system.programs import is_python

_SCRIPT, _MODULE, _CODE = "script", "module", "code"
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_LAST = {"m": _MODULE, "c": _CODE}

# Executed by the Python of the run, whichever version that is.
_IMPORTS = """\
import ast, importlib.util, os, sys, tokenize
kind, target = sys.argv[1:3]
sys.argv[:2] = []
package = None
first = os.getcwd()
if kind == "module":
    spec = importlib.util.find_spec(target)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(target + ".__main__")
    if spec is None:
        raise ModuleNotFoundError("No module named " + repr(target) + " that can be executed")
    path, package = spec.origin, spec.parent
    source = spec.loader.get_source(spec.name)
elif kind == "script":
    path = os.path.join(target, "__main__.py") if os.path.isdir(target) else target
    first = os.path.dirname(os.path.realpath(path))
    with tokenize.open(path) as file:
        source = file.read()
else:
    path, source, first = "<string>", target, ""
    sys.argv[0] = "-c"
if sys.path and sys.path[0] == "":
    sys.path[0] = first
def imports(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))
tree = ast.parse(source, path)
tree.body = [
    node for node in tree.body
    if imports(node) or isinstance(node, ast.Try) and all(map(imports, node.body))
]
names = {"__name__": "__main__", "__package__": package, "__file__": path}
exec(compile(tree, path, "exec", dont_inherit=True), names)
"""


def find_import_phase(args: Sequence[str]) -> list[str] | None:
    """Return the arguments that execute the imports of a command; None where it is no Python."""
    if not args or not is_python(args[0]):
        return None
    options = []
    rest = list(args[1:])
    while rest:
        word = rest.pop(0)
        last = _LAST.get(word[-1:]) if re.fullmatch("-[A-Za-z]*[mc]", word) else None
        if last and rest:
            options += [word[:-1]] if len(word) > 2 else []
            return [args[0], *options, "-c", _IMPORTS, last, *rest]
        if not word.startswith("-"):
            return [args[0], *options, "-c", _IMPORTS, _SCRIPT, word, *rest]
        if word in _WITH_VALUE and rest:
            word, value = word, rest.pop(0)
            options += [word, value]
        elif word != "-":
            options.append(word)
        else:
            return None
    return None
