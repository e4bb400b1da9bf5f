#!/bin/sh
# Make the environment .venv from requirements.lock and put minigrad into it, editable.
# Does nothing when it is there already; goes on where it stopped when it was interrupted.
#   PYTHON=/path/to/python   use this Python instead of the newest suitable one
set -eu
cd "$(dirname "$0")/../.."
venv=.venv
stamp=$venv/.complete

stop() { # what is wrong, and what to do about it
    printf '\n%s\n' "$1" >&2
    exit 1
}

runs_311() { # a name on PATH may be a shim that runs nothing, so ask it
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        runs_311 "$PYTHON" || stop "PYTHON=$PYTHON is not a Python 3.11 or newer that runs."
        python=$PYTHON
        return
    fi
    for python in python3.13 python3.12 python3.11 python3 python python3.14; do
        if runs_311 "$python"; then return; fi
    done
    found=$(python3 -V 2>/dev/null || echo "no python3 at all")
    stop "Python 3.11 or newer is needed, and this machine has $found.
Install Python 3.11, 3.12 or 3.13 (from python.org, or your system's packages), or name one: make PYTHON=/path/to/python3.12"
}

wanted() { # what a complete environment is the result of: these files, in this folder
    cat requirements.lock pyproject.toml | cksum
    pwd
}

same_python() { # is the Python in .venv the one that was asked for by name?
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -V 2>&1)" = "$($venv/bin/python -V 2>&1)" ]
}

usable() { # begun in this very folder (a moved .venv is broken), with a pip that works
    [ "$(cat $venv/.folder 2>/dev/null)" = "$(pwd)" ] && same_python &&
        $venv/bin/python -m pip --version >/dev/null 2>&1
}

if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ] && same_python; then exit 0; fi
rm -f $stamp

if ! usable; then
    find_python
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "Python $version is here, but its module venv is not complete.
On Debian and Ubuntu: sudo apt install python$version-venv"
    echo "Making the environment $venv with Python $version"
    rm -rf $venv
    "$python" -m venv $venv || stop "python -m venv failed; the lines above say why."
    pwd >$venv/.folder
fi

$venv/bin/python book/tools/install.py requirements.lock
wanted >$stamp
