"""Loads a logged model as a machine does that has its requirements and nothing else; prints what it found as JSON."""

import base64
import json
import os
import sys
from importlib.metadata import files
from pathlib import Path

task = json.load(sys.stdin)


class Hiding:
    """A finder of modules that does not see what the model's requirements do not bring along."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *more):
        return None if name.partition(".")[0] in task["absent"] else self.finder.find_spec(name, *more)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
import mlflow  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from PIL import Image  # noqa: E402

model = mlflow.pyfunc.load_model(task["model"])
photographs = [Path(path) for path in task["photographs"]]
arrays = np.stack([np.asarray(Image.open(path)) for path in photographs])
encoded = [path.read_bytes() for path in photographs]
found = {
    "arrays": model.predict(pd.DataFrame({"image": list(arrays)})),
    "stack": model.predict({"image": arrays}),
    "bytes": model.predict(pd.DataFrame({"image": encoded})),
    "mixed": model.predict({"image": [encoded[0], *arrays[1:]]}),
    "text": model.predict(pd.DataFrame({"image": [base64.b64encode(data).decode() for data in encoded]})),
    "maps": model.predict(pd.DataFrame({"image": encoded}), params={"maps": True}),
}
shapes = [list(map_.shape) for map_ in found["maps"].pop("map")]
skinny = {str(file) for file in files("mlflow-skinny")}
site = Path(mlflow.__file__).parents[1]
files_of_modules = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
loaded = [os.path.relpath(path, site) for path in files_of_modules]
result = {
    "tables": {name: table.to_dict("list") for name, table in found.items()},
    "shapes": shapes,
    "package": sys.modules["discrepancy"].__file__,
    "not_skinny": [path for path in loaded if path.startswith("mlflow/") and path not in skinny],
}
sys.stdout.write(json.dumps(result))
