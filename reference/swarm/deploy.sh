#!/bin/bash
# Brings a stack to what its file says, on a swarm of this one node. It ends when every replica runs, and it is safe to run
# again: what is as it should be is left alone.
# usage: deploy.sh STACK FILE IMAGE      IMAGE: the apps' file system, a tar archive
# environment: APPS, the image's name
set -euo pipefail
stack=$1 file=$2 image=$3

# Inactive is a node that never was in a swarm. What the command says is the token to join with, which is for no journal. It
# gives up after 20 seconds; the node goes on, as one does that comes back from a boot.
if [[ $(docker info --format '{{.Swarm.LocalNodeState}}') == inactive ]]; then
  docker swarm init --advertise-addr 198.18.0.1 --listen-addr 198.18.0.1 --default-addr-pool 198.18.64.0/18 >/dev/null ||
    echo "$stack: waiting for the node" >&2
fi
until docker node inspect self --format 'the node is {{.Status.State}}' 2>/dev/null | grep -w ready; do sleep 1; done

docker image inspect "$APPS" >/dev/null 2>&1 || docker import "$image" "$APPS"
docker stack deploy --compose-file "$file" --resolve-image never --detach=false --quiet "$stack"
