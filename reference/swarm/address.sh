#!/bin/bash
# Gives the node the address by which its swarm knows it: on a link of its own, so that it is there before any network.
set -euo pipefail
[[ -e /sys/class/net/swarm0 ]] || ip link add swarm0 type dummy
ip address replace 198.18.0.1/32 dev swarm0
ip link set swarm0 up
