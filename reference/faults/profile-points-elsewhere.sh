#!/bin/bash
# expect: fail identity.toplevel
set -eu
# Any other valid store path will do; nothing but the next boot reads the profile.
ln -sfn "$(readlink -f /run/current-system/etc/..)" /nix/var/nix/profiles/system
