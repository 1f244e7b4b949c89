#!/usr/bin/env bash
# system.sh ROLE: what ezm needs of Debian or Ubuntu, by apt, as root; ROS itself is the base image's.
#   runtime  a Python that carries /opt/ezm      build  what makes it: venv, a C compiler for CycloneDDS
#   dev      build, and what the tests and films use
set -euo pipefail
role=${1:-}
die() { echo "system.sh: $*" >&2; exit 1; }

runtime=(ca-certificates python3)
build=("${runtime[@]}" gcc libc6-dev python3-dev python3-venv)
dev=("${build[@]}" git libosmesa6 make procps shellcheck)
case $role in
runtime) names=("${runtime[@]}") ;;
build) names=("${build[@]}") ;;
dev) names=("${dev[@]}") ;;
*) die "expected runtime, build or dev, got '$role'" ;;
esac
command -v apt-get >/dev/null || die "no apt-get here; this is for Debian and Ubuntu, which have ${names[*]}"
[ "$(id -u)" = 0 ] || die "needs root (sudo $0 $role): installs ${names[*]}"

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC1091
if [ "$role" = dev ] && [ "$(. /etc/os-release && echo "$ID")" = debian ]; then
    names+=(chromium) # the live view's tests; on Ubuntu it is a snap, which no container can install
fi
apt-get -q install -y --no-install-recommends "${names[@]}"
if [ "$role" = runtime ]; then # the lists would stay in every image; tools/make_cyclonedds.sh needs them
    rm -rf /var/lib/apt/lists/*
fi
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$(python3 -V) is too old: 3.10 or newer is needed (Ubuntu 22.04, Debian 12)"
