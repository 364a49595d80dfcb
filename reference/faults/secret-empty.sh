#!/bin/bash
# expect: fail secrets.in-place
set -eu
: >/run/secrets/bridge_token
