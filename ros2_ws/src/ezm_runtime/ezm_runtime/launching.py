"""The launch description of an H1, for `launch/*.launch.py`: what `describe` says, for `launch`.

The only module that imports `launch`, which has no wheel: it comes with a ROS 2 installation.
"""
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import os
import tempfile
from dataclasses import fields
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from ezm_runtime.describe import NODE_NAME, PACKAGE, Options, describe
from runtime.cli import parse


def h1(robot: str) -> LaunchDescription:
    """Return the launch description: arguments, robot process, policy node, its way to active."""
    arguments = [
        DeclareLaunchArgument(
            item.name, default_value=str(item.default), description=item.metadata["help"]
        )
        for item in fields(Options)
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_actions, args=[robot])])


def _actions(context: LaunchContext, robot: str) -> list:
    words = [
        f"{item.name}={LaunchConfiguration(item.name).perform(context)}" for item in fields(Options)
    ]
    folder = Path(tempfile.mkdtemp(prefix="ezm-"))
    line = describe(robot, parse(Options(), words), folder=folder, parent=os.getpid())
    ending = [OpaqueFunction(function=_end)]
    process = ExecuteProcess(
        cmd=list(line.robot_argv), name="robot_process", output="screen", on_exit=ending
    )
    listeners = [
        # the film is drawn after the run: the launch system must be patient with it
        ExecuteProcess(cmd=list(argv), name=name, output="screen", sigterm_timeout="600")
        for name, argv in line.listeners.items()
    ]
    node = LifecycleNode(
        package=PACKAGE,
        executable="policy_node",
        name=NODE_NAME,
        namespace="",
        parameters=[str(line.config), line.node_parameters],
        output="screen",
        on_exit=ending,
    )
    configure = _transition(node, Transition.TRANSITION_CONFIGURE)
    activate = _transition(node, Transition.TRANSITION_ACTIVATE)
    return [
        process,
        *listeners,
        node,
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=[configure])),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[activate],
            )
        ),
    ]


def _end(context: LaunchContext) -> list:
    """One of the two has ended: so does the launch, unless it is about to anyway."""
    return [] if context.is_shutdown else [Shutdown(reason="the control line has ended")]


def _transition(node: LifecycleNode, transition: int) -> EmitEvent:
    return EmitEvent(
        event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    )
