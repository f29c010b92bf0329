#!/usr/bin/env bash
# Gets scenariod: from PATH, from a release, or by building the code that this script came with. Puts it on PATH for later steps.
# Environment: VERSION (empty, path, source or a tag), ACTION_REF and ACTION_REPOSITORY (which action this is), and GitHub's own
# RUNNER_TEMP, GITHUB_OUTPUT, GITHUB_PATH, GITHUB_SERVER_URL.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
# shellcheck source=ci/github/commands.sh
. "$root/ci/github/commands.sh"
# shellcheck source=ci/toolchain.sh
. "$root/ci/toolchain.sh"

place="$RUNNER_TEMP/scenariod"
# An action that is used as ./ has no repository of its own.
url="${GITHUB_SERVER_URL:-https://github.com}/${ACTION_REPOSITORY:-${GITHUB_REPOSITORY:-}}"

# Says which program later steps use, and ends.
use() { # PROGRAM
  local version
  version="$("$1" --version)" || die 4 "$1 does not run on this machine"
  echo "$version: $1"
  output scenariod "$1"
  dirname "$1" >> "$GITHUB_PATH"
  exit 0
}

# The tag of the action's release. A whole version is its own name. For v1, which moves, and for a commit it is the longest tag of
# that commit.
tag() {
  local ref="${ACTION_REF:-}"
  if [[ "$ref" =~ ^v[0-9]+\. ]]; then
    printf '%s' "$ref"
  elif [[ "$ref" =~ ^(v[0-9]+|[0-9a-f]{40})$ ]]; then
    # An annotated tag has two lines: its own object, then the commit, with ^{} after the name.
    git ls-remote --tags "$url" 'v[0-9]*' | awk -v ref="$ref" '
      { name = $2; sub("^refs/tags/", "", name); sub(/\^\{\}$/, "", name); commit[name] = $1 }
      END {
        wanted = (ref in commit) ? commit[ref] : ref
        for (name in commit) if (commit[name] == wanted && length(name) > length(best)) best = name
        printf "%s", best
      }'
  fi
}

# Unpacks the binaries of a release, whose checksum must be right.
download() { # TAG
  local name file
  [[ "$1" =~ ^v[0-9][0-9A-Za-z.+-]*$ ]] || return 1
  name="memcache-client-reliability-$1-$(uname -m)-unknown-linux-musl"
  mkdir -p "$place"
  for file in "$name.tar.gz" SHA256SUMS; do
    curl --fail --silent --show-error --location --retry 3 --output "$place/$file" "$url/releases/download/$1/$file" || return 1
  done
  # A wrong checksum is no reason to go another way: somebody has changed the file.
  (cd "$place" && awk -v file="$name.tar.gz" '$2 == file' SHA256SUMS | sha256sum --check --strict --quiet) \
    || die 4 "$name.tar.gz: its checksum is not the one in SHA256SUMS"
  tar -xzf "$place/$name.tar.gz" -C "$place" || return 1
  use "$place/$name/scenariod"
}

build() {
  command -v cargo >/dev/null || die 4 "no cargo on PATH: install Rust, or set version to the tag of a release"
  toolchain "$root"
  cargo install --path "$root/cmd/scenariod" --locked --root "$place" || die 4 "scenariod could not be built"
  use "$place/bin/scenariod"
}

[ "$(uname -s)" = Linux ] || die 4 "this action runs on Linux only"
found="$(command -v scenariod || true)"
case "${VERSION:-}" in
  path)
    [ -n "$found" ] || die 4 "version is path, but no scenariod is on PATH"
    use "$found"
    ;;
  source) build ;;
  v[0-9]*) download "$VERSION" || die 4 "no release $VERSION for this machine ($(uname -m)) at $url" ;;
  '')
    [ -z "$found" ] || use "$found"
    # Without a network or a release it is built.
    tag="$(tag || true)"
    if [ -n "$tag" ]; then
      download "$tag" || echo "no release $tag for this machine ($(uname -m)) at $url: scenariod is built"
    fi
    build
    ;;
  *) die 2 "version: expected a tag such as v0.1.0, source or path, not '$VERSION'" ;;
esac
