# shellcheck shell=bash
# For the scripts beside this file, which source it.

# Makes cargo use the compiler of rust-toolchain.toml, without the tools that developers want beside it. Without rustup cargo stays
# as it is.
toolchain() { # ROOT FLAG...
  local root="$1"
  shift
  if command -v rustup >/dev/null; then
    RUSTUP_TOOLCHAIN="$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")"
    export RUSTUP_TOOLCHAIN
    rustup toolchain install "$RUSTUP_TOOLCHAIN" --profile minimal "$@"
  fi
}
