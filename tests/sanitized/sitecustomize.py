"""Loads the extension of a build folder in place of the installed one, in every Python process.

For `make sanitize`: the environment variable `NATIVE_BUILD` names the folder.
"""

import importlib.util
import os
import sys
from pathlib import Path

NAME = "tinygrad_rnn.kernels.cpu._native"

[library] = Path(os.environ["NATIVE_BUILD"]).glob("_native*.so")
spec = importlib.util.spec_from_file_location(NAME, library)
assert spec is not None
assert spec.loader is not None
sys.modules[NAME] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[NAME])
