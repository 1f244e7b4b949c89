#!/usr/bin/env bash
# What a container of ezm starts with: ROS, the TensorRT engine if one is wanted, then the command itself.
#   EZM_ENGINE=tensorrt   build the engine of $EZM_POLICY now, or find it in the cache (a volume)
set -eo pipefail # no -u: ROS's setup files read variables that nobody set
prefix=${EZM_PREFIX:-/opt/ezm}
ros=${ROS_PREFIX:-/opt/ros/${ROS_DISTRO:-none}}
for setup in "$ros/setup.bash" "$prefix/ws/install/local_setup.bash"; do
    # shellcheck disable=SC1090
    [ ! -f "$setup" ] || . "$setup"
done
export PATH="$prefix/venv/bin:$PATH"
if [ "${EZM_ENGINE:-ort}" != ort ]; then
    python -m runtime.prepare "policy=${EZM_POLICY:-models/h1/policy.onnx}" "engine=$EZM_ENGINE"
fi
exec "$@"
