#!/bin/bash
# expect: fail identity.contents
set -eu
# Not a byte of the file's content differs; an archive of it does, as it says whether a file is executable.
chmod a+x "$(readlink -f /run/current-system)/nixos-version"
