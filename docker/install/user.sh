#!/usr/bin/env bash
# user.sh NAME UID: an ordinary user that may ask for real-time priority, and the folders that are its own.
# Root; run again it changes nothing. On a machine of your own: `user.sh "$USER" "$(id -u)"`, then log in anew.
set -euo pipefail
name=${1:-} uid=${2:-}
die() { echo "user.sh: $*" >&2; exit 1; }

[[ $name =~ ^[a-z_][a-z0-9_-]*$ && $uid =~ ^[0-9]+$ ]] || die "expected NAME UID, got '$name' '$uid'"
[ "$uid" != 0 ] || die "uid 0 is root's; ezm runs as an ordinary user"
[ "$(id -u)" = 0 ] || die "needs root (sudo $0 $name $uid)"
owner=$(getent passwd "$uid" || true)
owner=${owner%%:*}
[ -z "$owner" ] || [ "$owner" = "$name" ] || die "uid $uid is $owner's already; choose another (UID=10001)"
if getent passwd "$name" >/dev/null; then
    [ "$(id -u "$name")" = "$uid" ] || die "$name has uid $(id -u "$name") already, not $uid"
else
    getent group "$uid" >/dev/null || groupadd --gid "$uid" "$name"
    useradd --uid "$uid" --gid "$uid" --create-home --shell /bin/bash "$name"
fi
for group in video render; do # a Jetson's GPU devices belong to these
    ! getent group "$group" >/dev/null || usermod --append --groups "$group" "$name"
done

# runtime.realtime asks for SCHED_FIFO 50 and locks its memory; a container takes both from `ulimits`
mkdir -p /etc/security/limits.d
cat >/etc/security/limits.d/ezm.conf <<END
$name - rtprio 60
$name - memlock unlimited
END
group=$(id -gn "$name")
for folder in /var/cache/ezm /var/lib/ezm /run/ezm; do # engines; where it starts; the wire's sockets
    install -d -m 0750 -o "$name" -g "$group" "$folder"
done
if [ -d /usr/lib/tmpfiles.d ]; then # /run is empty after every boot
    mkdir -p /etc/tmpfiles.d
    echo "d /run/ezm 0750 $name $group" >/etc/tmpfiles.d/ezm.conf
fi
