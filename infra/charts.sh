#!/usr/bin/env bash
# Bring the chart library at its pinned version from npm to where the site serves it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=webapp/static/vendor
if ! command -v npm >/dev/null; then
    echo "Node.js is missing: the site shows tables without charts. Install Node.js and run 'make setup' for charts." >&2
    exit 0
fi
npm ci --silent --ignore-scripts --no-audit --no-fund
mkdir -p "$target"
cp node_modules/echarts/LICENSE "$target/echarts.LICENSE"
cp node_modules/echarts/dist/echarts.min.js "$target/echarts.min.js"
