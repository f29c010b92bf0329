#!/usr/bin/env bash
# Annotates the pull request: annotate.py, where there is a Python. Runners of GitHub have one, a container may have none.
set -euo pipefail
if ! command -v python3 >/dev/null; then
  echo "::notice title=scenariod::no python3 on PATH, so nothing is annotated; the job summary and the artifact have all results"
  exit 0
fi
exec python3 "$(dirname "$0")/annotate.py"
