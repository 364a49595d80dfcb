#!/bin/bash
# expect: fail blank.inventory
set -eu
# What a service left behind on a machine that was used before.
mkdir -p /var/lib/ci-state/www
echo '<!doctype html><title>ci.example.test</title>' >/var/lib/ci-state/www/index.html
