#!/bin/sh
# Makes sure that Debian's Chromium is there for the playground's tests.
set -eu

[ -x /usr/bin/chromium ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "make browser: needs Chromium. Run: sudo apt-get update && sudo apt-get install -y --no-install-recommends chromium" >&2
    exit 1
fi
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium
