"""Python with no ``gliomagen`` installed: ``python uninstalled.py FILE ARGUMENT…`` runs FILE.

An editable install puts a finder, or the bundle's folder, on every path; here neither is.
"""

import importlib.util
import os
import runpy
import sys

sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path = [path for path in sys.path[1:] if "editable" not in path and not path.endswith("/bundle")]
assert importlib.util.find_spec("gliomagen") is None, "gliomagen is installed, and not as editable"
sys.path[:0] = [path for path in os.environ.get("BUNDLE_PATH", "").split(os.pathsep) if path]
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
runpy.run_path(sys.argv[0], run_name="__main__")
