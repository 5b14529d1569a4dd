#!/usr/bin/env bash
# Install the browser that the page tests drive, with fonts for the scripts that titles are written in.
# Debian only; elsewhere install Chromium yourself and name it with CHROMIUM=/path/to/chromium.
set -euo pipefail

if command -v "${CHROMIUM:-chromium}" >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "Chromium is missing; install it and name it with CHROMIUM=..., or run the tests with -m 'not browser'." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
echo "Installing Chromium for the page tests ..."
"${as_root[@]}" apt-get -qq update >/dev/null
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --yes --no-install-recommends \
    chromium fonts-noto-core fonts-noto-cjk >/dev/null
