#!/bin/bash
# expect: fail leaks.none
set -eu
# As registries keep passwords: `user:password` in base64.
mkdir -p /var/lib/registry
{ printf 'ci:'; cat /run/secrets/registry_password; } | base64 >/var/lib/registry/config
