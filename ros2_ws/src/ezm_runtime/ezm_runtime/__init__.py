"""The ROS 2 side of ezm: messages in, messages out. Everything that decides lives in `runtime`."""
