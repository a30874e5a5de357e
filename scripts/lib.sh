# shellcheck shell=bash
# Shared by the scripts: makes .venv with what is asked for and says what it is doing. Sourced, not run.

say() { printf '%s\n' "== $*" >&2; }

# A Python that TensorFlow has wheels for. PYTHON=... names another.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python 3.10 to 3.13 was found; install one (sudo apt-get install python3 python3-venv) or name it with PYTHON=..."
    return 1
}

# Debian ships Python without ensurepip; the package python3-venv has it.
ensure_venv_module() {
    local python=$1 package as_root=()
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    say "installing Debian's $package, without which no venv can be made"
    "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq "$package" >&2
}

# ensure_library FILE PACKAGE: a system library from Debian, where it is missing and may be installed.
ensure_library() {
    local file=$1 package=$2 as_root=()
    # Read to the end: with pipefail a pipe that is left early counts as a failure.
    ldconfig -p 2>/dev/null | grep -F "$file" >/dev/null && return
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    say "installing Debian's $package for a test"
    { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq "$package" >&2; } ||
        say "it cannot be installed here; the test that needs it will be skipped"
}

# ensure_programs PACKAGE...: Debian packages that tests use as the other side, where they are missing and may be installed.
ensure_programs() {
    local missing=() package as_root=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -F 'install ok installed' >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    say "installing Debian's ${missing[*]} for tests"
    { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2; } ||
        say "they cannot be installed here; tests that need them will be skipped"
}

# ensure_installed EXTRA: .venv with edgegraft[EXTRA]; done again only when what is asked for has changed.
ensure_installed() {
    local extra=$1 python stamp wanted quiet=()
    stamp=.venv/.installed-$extra
    wanted="$(cat pyproject.toml constraints.txt | sha256sum) $PWD"
    if [ -x .venv/bin/edgegraft ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if [ ! -x .venv/bin/python ]; then
        python="$(find_python)"
        ensure_venv_module "$python"
        say "making .venv with $("$python" --version)"
        "$python" -m venv .venv
    fi
    say "installing edgegraft[$extra] and what it needs from the package index (2.3 GB on disk the first time, some minutes)"
    # A person watches pip's own lines and bars; a log does not need them.
    [ -t 2 ] || quiet=(--quiet --progress-bar off)
    .venv/bin/python -m pip install --disable-pip-version-check "${quiet[@]}" -c constraints.txt -e ".[$extra]" >&2
    printf '%s' "$wanted" >"$stamp"
}
