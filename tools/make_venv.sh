#!/usr/bin/env bash
# make_venv.sh DIR EXTRAS: a virtual environment with this project (editable) and the given extras.
# Stamped on what it was made from: redone when that changes, resumed or remade when it was interrupted.
set -euo pipefail
dir=$1
extras=$2
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

die() { printf '\nezm: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || die "no $python here. Debian or Ubuntu: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2])' ||
    die "$python is $("$python" -V 2>&1); 3.10 or newer is needed (make … PYTHON=python3.12)"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$python cannot make virtual environments. Debian or Ubuntu: apt-get install python3-venv"
case ",$extras," in
*,ros,*) [ "$(uname -sm)" = "Linux x86_64" ] ||
    die "the ROS 2 wheels exist for Linux x86_64 only, this is $(uname -sm).
     Without ROS: pip install -e '.[sim]' && python runtime/run.py policy=models/h1/policy.onnx
     With ROS: install ROS 2 from apt and build ros2_ws with colcon (README)." ;;
esac

stamp="$dir/.stamp"
wanted="$(cat pyproject.toml constraints.txt ros2_ws/constraints_jazzy.txt "$0" | sha256sum | cut -c1-16)"
wanted="$wanted $extras $("$python" -V 2>&1)"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x "$dir/bin/python" ] && exit 0

mkdir -p "$dir"
if command -v flock >/dev/null; then # two makes at once: the second waits, then finds the stamp
    exec 9>"$dir/.lock"
    flock 9
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0
fi

started=$SECONDS
clear=
if [ -e "$dir/.unfinished" ]; then # interrupted half-way: what pip left behind cannot be trusted
    clear=--clear
fi
size="600 MB"
case ",$extras," in *,train,*) size="2 GB, more where the index prefers torch with CUDA" ;; esac
echo "ezm: setting up $dir ($extras): $size on disk from the package index, a few minutes; this happens once"
"$python" -m venv $clear "$dir"
touch "$dir/.unfinished"
pip() { "$dir/bin/python" -m pip --disable-pip-version-check "$@"; }
install() { pip install -qq --prefer-binary -c constraints.txt "$@"; }

install --upgrade pip wheel
case ",$extras," in
*,train,*) install torch ;; # first and alone, so that the build an index prefers (CPU) is the one kept
esac
install --editable ".[$extras]"
rm -f "$dir/.unfinished"
printf '%s' "$wanted" >"$stamp"
echo "ezm: $dir ready after $((SECONDS - started)) s"
