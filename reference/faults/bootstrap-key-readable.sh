#!/bin/bash
# expect: fail blank.one-secret
set -eu
chmod 0644 /var/lib/sops-nix/key.txt
