#!/bin/bash
# expect: fail leaks.none
set -eu
hex=$(od -An -v -tx1 /run/secrets/bridge_token | tr -d ' \n')
systemd-cat --identifier=bridge <<<"connected with token $hex"
journalctl --sync
