"""Scripts that lie outside the package, loaded by their path."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
_IMPORT = re.compile(r"^from (\w+) import", re.MULTILINE)


def load_script(path: str) -> ModuleType:
    """A script as a module, with those beside it that it imports.

    Args:
        path: in the repository.
    """
    place = ROOT / path
    for name in _IMPORT.findall(place.read_text(encoding="utf-8")):
        if name not in sys.modules and place.with_name(f"{name}.py").is_file():
            sys.modules[name] = load_script(str(Path(path).with_name(f"{name}.py")))
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
