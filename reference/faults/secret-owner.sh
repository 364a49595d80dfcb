#!/bin/bash
# expect: fail secrets.modes
set -eu
chown drone:drone /run/secrets/bridge_token
