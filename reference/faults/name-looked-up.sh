#!/bin/bash
# expect: fail isolation.egress
set -eu
# Nobody answers. To ask is to tell.
timeout 3 getent hosts telemetry.example.net || true
