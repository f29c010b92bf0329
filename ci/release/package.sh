#!/usr/bin/env bash
# Builds both programs as static binaries and packs what a release has for one kind of machine.
# Usage: package.sh TAG TARGET FOLDER; for example package.sh v0.1.0 x86_64-unknown-linux-musl dist
# Needs musl-gcc (Debian: musl-tools): ring and zstd are C code, and must be compiled for musl's C library.
set -euo pipefail
tag="$1" target="$2"
mkdir -p "$3"
folder="$(cd "$3" && pwd)"
cd "$(dirname "$0")/../.."
# shellcheck source=ci/toolchain.sh
. ci/toolchain.sh

version="$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)"
if [ "$tag" != "v$version" ]; then
  echo "the tag is $tag, but Cargo.toml has version $version: one of them is wrong" >&2
  exit 1
fi

toolchain . --target "$target"
# The crate `cc` reads this variable: its name has the target in it.
export "CC_${target//-/_}=musl-gcc"
cargo build --profile dist --locked --target "$target" --bin loadgen --bin scenariod
built="${CARGO_TARGET_DIR:-target}/$target/dist"
for program in loadgen scenariod; do
  # A binary that needs a library would run only where that library is. ldd fails for a static one.
  libraries="$(ldd "$built/$program" 2>&1 || true)"
  if ! grep -qE 'statically linked|not a dynamic executable' <<< "$libraries"; then
    printf '%s is not static:\n%s\n' "$program" "$libraries" >&2
    exit 1
  fi
done

name="memcache-client-reliability-$tag-$target"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/$name/completions" "$root/$name/man"
cp "$built/loadgen" "$built/scenariod" LICENSE-APACHE LICENSE-MIT README.md "$root/$name/"
"$built/scenariod" completions bash > "$root/$name/completions/scenariod.bash"
"$built/scenariod" completions zsh > "$root/$name/completions/_scenariod"
"$built/scenariod" completions fish > "$root/$name/completions/scenariod.fish"
"$built/scenariod" man "$root/$name/man"

# The same files give the same archive: order, owner and times are fixed.
epoch="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -c "$name" | gzip --no-name > "$folder/$name.tar.gz"
echo "$folder/$name.tar.gz"
