#!/bin/bash
# expect: fail leaks.none
set -eu
cp /var/lib/sops-nix/key.txt /root/key.txt.bak
