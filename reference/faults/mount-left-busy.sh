#!/bin/bash
# expect: fail teardown.clean
set -eu
# On the controller: LEASE is the machine's own directory. A mount alone can be detached while it is busy; the
# mount point below it is immutable, which keeps even root from removing it.
point=$LEASE/busy
mkdir "$point"
chattr +i "$point"
mount -t tmpfs tmpfs "$point"
# It becomes an ordinary directory again some time after the run, so that the lease can be reaped.
setsid --fork bash -c 'sleep 120; umount "$0"; chattr -i "$0"' "$point" </dev/null >/dev/null 2>&1
