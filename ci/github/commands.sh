# shellcheck shell=bash
# Workflow commands of GitHub, for the scripts beside this file, which source it.

# A command ends with its line: what is inside must not end it.
escaped() { # TEXT
  local text="$1"
  text="${text//\%/%25}"
  text="${text//$'\r'/%0D}"
  text="${text//$'\n'/%0A}"
  printf '%s' "$text"
}

error() { # TEXT
  printf '::error title=scenariod::%s\n' "$(escaped "$1")"
}

# Ends the step. The exit codes are scenariod's: 2 usage, 4 infrastructure.
die() { # CODE TEXT
  error "$2"
  exit "$1"
}

# A name beside its value for later steps. A line end in a value would begin another name.
output() { # NAME VALUE
  printf '%s=%s\n' "$1" "${2//[$'\r\n']/ }" >> "$GITHUB_OUTPUT"
}

# An input that is true or false.
flag() { # NAME VALUE
  case "$2" in
    true | false) ;;
    *) die 2 "$1: expected true or false, not '$2'" ;;
  esac
}
