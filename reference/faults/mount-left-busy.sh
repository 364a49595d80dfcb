#!/bin/bash
# expect: fail teardown.clean
set -eu
# On the controller: LEASE is the machine's own directory. A directory that something is mounted on cannot be removed.
mkdir "$LEASE/busy"
mount -t tmpfs tmpfs "$LEASE/busy"
# It goes away by itself after the run, so that the directory can be reaped.
setsid --fork bash -c 'sleep 120; umount "$0"' "$LEASE/busy" </dev/null >/dev/null 2>&1
