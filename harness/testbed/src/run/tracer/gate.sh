#!/bin/bash
# Holds back what a switch would start, so that the state stays as the switch alone makes it. usage: gate.sh UNIT PREFIX
# Whatever goes wrong, the unit starts.
dir=/run/coldproof-race
[[ $1 != coldproof-* && ( -e /etc/systemd/system/$1 || -e /etc/systemd/system/$2@.service ) ]] || exit 0
! grep -qxF -- "$1" "$dir/running" || exit 0
echo "$1" >>"$dir/held" || exit 0
exit 1
