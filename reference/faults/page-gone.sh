#!/bin/bash
# expect: fail services.http
set -eu
rm /var/lib/ci-state/www/index.html
