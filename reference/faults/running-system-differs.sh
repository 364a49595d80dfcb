#!/bin/bash
# expect: fail identity.toplevel, identity.reproduced
set -eu
# A store path with a closure of its own, as a switch to an uncommitted change would leave it.
ln -sfn "$(readlink -f /run/current-system/etc/..)" /run/current-system
