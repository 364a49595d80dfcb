#!/bin/bash
# expect: fail secrets.modes
set -eu
chmod 0644 /run/secrets/bridge_token
