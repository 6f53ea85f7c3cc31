#!/bin/sh
# Drives real clients and servers. Each step is a script of its own, which gets
# what it needs and cleans up behind it.
set -eu

sh scripts/docker.sh
sh scripts/clients.sh
sh scripts/az.sh
sh scripts/portal.sh
