#!/bin/bash
# expect: fail convergence.no-failures, convergence.running, services.units
set -eu
# As the kernel does where memory runs out.
systemctl kill --signal=KILL nginx.service
until systemctl is-failed --quiet nginx.service; do :; done
