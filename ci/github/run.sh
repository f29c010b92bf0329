#!/usr/bin/env bash
# Runs the scenarios. Succeeds whatever the verdict is, because reports are shown and uploaded after it; the exit code of
# scenariod is an output, and finish.sh ends with it.
# Environment: SCENARIOD (the program), the inputs SCENARIOS, FILES, OBSERVE, TOXIPROXY, QUICK, ARGS, SUMMARY, ARTIFACT, and
# GitHub's own RUNNER_TEMP, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY, GITHUB_JOB.
set -euo pipefail
# shellcheck source=ci/github/commands.sh
. "$(dirname "$0")/commands.sh"

flag quick "$QUICK"
flag summary "$SUMMARY"

# A folder of this step alone: the action may be used twice in a job.
folder="$(mktemp -d "$RUNNER_TEMP/scenariod-XXXXXX")"
runs="$folder/runs"
table="$folder/summary.md"
mkdir "$runs"

flags=("--runs=$runs" "--summary=$table")
# `read` splits at blanks and line ends, and expands no glob. It fails at the end of the text, which is no error here.
IFS=$' \t\r\n' read -r -d '' -a names <<< "${SCENARIOS//,/ }" || true
for name in "${names[@]}"; do flags+=("--scenario=$name"); done
while IFS=$' \t\r' read -r file; do
  [ -z "$file" ] || flags+=("--scenario-file=$file")
done <<< "$FILES"
[ "$QUICK" = false ] || flags+=(--quick)
if [ -n "$OBSERVE" ]; then
  flags+=("--observe=$OBSERVE" "--toxiproxy=$TOXIPROXY")
else
  flags+=(--lab)
fi
# xargs knows quotes, and expands nothing.
printf '%s' "$ARGS" | xargs -r printf '%s\0' > "$folder/args" || die 2 "args: a quote is not closed"
mapfile -t -d '' further < "$folder/args"
rm "$folder/args"
flags+=("${further[@]}")

# What scenariod prints may come from a client: a line of it must not be taken for a workflow command.
token="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
echo "::stop-commands::$token"
printf '%q ' scenariod "${flags[@]}"
echo
set +e
"$SCENARIOD" "${flags[@]}" 2>&1 | tee "$folder/log.txt"
code="${PIPESTATUS[0]}"
set -e
printf '\n::%s::\n' "$token"

case "$code" in
  0) result=pass ;;
  1) result=fail ;;
  2) result=usage ;;
  3) result=inconclusive ;;
  4) result=infrastructure ;;
  5) result=wrong-data ;;
  *) result=error ;;
esac

# The page of all runs, else that of the last run.
report=""
for page in "$runs"/*/report.html "$runs"/*/suite.html; do
  [ ! -f "$page" ] || report="$page"
done

if [ "$SUMMARY" = true ]; then
  if [ -s "$table" ]; then
    cat "$table"
  else
    echo "scenariod ended with exit code $code ($result), and no run was judged. The log of the step says why."
  fi >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
fi

output exit-code "$code"
output result "$result"
output report "$report"
output runs "$runs"
output folder "$folder"
# The end of the folder's name makes it unique among the jobs of a matrix.
output artifact "${ARTIFACT:-scenariod-${GITHUB_JOB:-runs}-${folder##*-}}"
