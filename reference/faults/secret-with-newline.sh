#!/bin/bash
# expect: fail secrets.in-place
set -eu
# As an editor leaves a file.
echo >>/run/secrets/registry_password
