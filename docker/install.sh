#!/bin/sh
# Installs the server, and of its dependencies only what it needs: neither PyTorch nor Kedro, some 300 MB instead of 7 GB.
# Usage, in the project's folder: docker/install.sh [python]
set -eu
python=${1:-python}
needed=$(mktemp)
trap 'rm -f "$needed"' EXIT
"$python" - > "$needed" <<'END'
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["serve"], sep="\n")
END
"$python" -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -r "$needed"
"$python" -m pip install --no-cache-dir --disable-pip-version-check --no-deps .
