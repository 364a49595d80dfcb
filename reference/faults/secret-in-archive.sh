#!/bin/bash
# expect: fail leaks.none
set -eu
mkdir -p /var/backups
tar -C /run/secrets/ -cz bridge_token >/var/backups/settings.tar.gz
