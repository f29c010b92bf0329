#!/usr/bin/env bash
# Publishes the archives of a release with their checksums.
# Usage: publish.sh TAG FOLDER, the folder of what package.sh has packed. Environment: GITHUB_REPOSITORY, and GH_TOKEN for gh.
set -euo pipefail
tag="$1"
cd "$2"

sha256sum -- *.tar.gz > SHA256SUMS
# v1.0.0-rc.1 is not yet v1.0.0.
flags=()
case "$tag" in
  *-*) flags+=(--prerelease) ;;
esac
gh release create "$tag" --repo "$GITHUB_REPOSITORY" --verify-tag --title "$tag" --generate-notes "${flags[@]}" -- *.tar.gz SHA256SUMS
