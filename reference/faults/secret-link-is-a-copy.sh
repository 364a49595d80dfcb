#!/bin/bash
# expect: fail secrets.modes
set -eu
# It is equal to the certificate today, and will not follow it.
link=/var/lib/ci-certs/live/fullchain.pem
cp --remove-destination "$(readlink -f $link)" $link
