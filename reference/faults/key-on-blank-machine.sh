#!/bin/bash
# expect: fail blank.inventory
set -eu
# A key that a person has left where sops looks for one.
install -d -m0700 /root/.config/sops/age
age-keygen -o /root/.config/sops/age/keys.txt
