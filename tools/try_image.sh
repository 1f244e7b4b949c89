#!/usr/bin/env bash
# try_image.sh FOLDER [SUITE]: build the robot image without a Docker engine, and run it.
# A Debian SUITE (trixie) is bootstrapped into FOLDER and made a base image; the Dockerfile is then built
# on it by buildah in a chroot, with ROS 2 from wheels. Root, x86_64, ~3 GB; ends with the status of a run.
#   apt-get install debootstrap buildah
set -euo pipefail
folder=${1:?try_image.sh FOLDER [SUITE]}
suite=${2:-trixie}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."
for tool in debootstrap buildah; do
    command -v "$tool" >/dev/null || { echo "try_image.sh: no $tool: apt-get install $tool" >&2; exit 1; }
done
storage() { buildah --root "$folder/store" --runroot "$folder/run" --storage-driver overlay "$@"; }
base="localhost/debian:$suite"

if ! storage inspect --type image "$base" >/dev/null 2>&1; then
    [ -x "$folder/$suite/bin/bash" ] || debootstrap --variant=minbase "$suite" "$folder/$suite"
    container=$(storage from scratch)
    storage copy -q "$container" "$folder/$suite" / >/dev/null
    if [ -n "${PIP_CERT:-}" ]; then # a certificate of this machine's own belongs into the base image
        storage copy -q "$container" "$PIP_CERT" /usr/local/share/host-ca.pem >/dev/null
        storage config --env PIP_CERT=/usr/local/share/host-ca.pem "$container"
    fi
    storage commit -q "$container" "$base" >/dev/null
fi
storage bud -q --isolation chroot --format docker --pull-never --layers \
    --build-arg "BASE=$base" --target robot -t localhost/ezm:robot .
container=$(storage from --pull-never localhost/ezm:robot)
storage run --isolation chroot "$container" -- /opt/ezm/entrypoint.sh python -m runtime.prepare
storage run --isolation chroot "$container" -- /opt/ezm/entrypoint.sh \
    python -m ezm_runtime.bringup endpoint=ipc:///run/ezm/h1 duration="${DURATION:-5}"
storage rm "$container" >/dev/null
