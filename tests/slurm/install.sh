#!/usr/bin/env bash
# Installs what the tests on a real Slurm need (Debian or Ubuntu, as root). No daemon of the packages is started:
# tests/slurm/cluster.py starts its own, under a folder of its own.
set -euo pipefail

daemons=(munged slurmctld slurmd)
have_all() { for name in "${daemons[@]}" sbatch; do PATH="$PATH:/usr/sbin" command -v "$name" || return 1; done; }
have_all > /dev/null && exit 0

# Debian asks this file before it starts a service; 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends munge slurmctld slurmd slurm-client
