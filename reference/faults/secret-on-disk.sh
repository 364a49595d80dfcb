#!/bin/bash
# expect: fail secrets.in-place
set -eu
# The same bytes, mode and owner, at the end of a link; but on a file system that is on a disk.
mkdir -p /var/lib/bridge
cp --preserve=mode,ownership /run/secrets/bridge_token /var/lib/bridge/token
ln -sfn /var/lib/bridge/token /run/secrets/bridge_token
