#!/bin/bash
# expect: fail convergence.running, services.units
set -eu
systemctl stop deploy-bridge.service
