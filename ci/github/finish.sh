#!/usr/bin/env bash
# Ends with the exit code of scenariod, after reports were shown and uploaded.
# Environment: EXIT_CODE and RESULT of run.sh, and the input ALLOW_INCONCLUSIVE.
set -euo pipefail
# shellcheck source=ci/github/commands.sh
. "$(dirname "$0")/commands.sh"

flag allow-inconclusive "$ALLOW_INCONCLUSIVE"
[[ "$EXIT_CODE" =~ ^[0-9]+$ ]] || die 4 "scenariod was not run"
echo "scenariod: $RESULT (exit code $EXIT_CODE)"
if [ "$EXIT_CODE" = 3 ] && [ "$ALLOW_INCONCLUSIVE" = true ]; then
  exit 0
fi
exit "$EXIT_CODE"
