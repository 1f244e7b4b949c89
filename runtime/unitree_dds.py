"""CycloneDDS 0.10 as the H1's bridge and its double use it: one interface, two topics, who else.

Never 11.x: a participant of it makes a 0.10 one on the same domain crash. Knows no message.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import ctypes as ct
import os
from typing import Any

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.internal import DDS
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from runtime.robot import RobotError

COMMANDS, STATES = "rt/lowcmd", "rt/lowstate"
LEASE = 10  # s, CycloneDDS remembers a participant that died without a word for this long


def configuration(interface: str) -> str:
    """Return the DDS configuration that binds to one network interface."""
    return (
        '<CycloneDDS><Domain id="any"><General><Interfaces>'
        f'<NetworkInterface name="{interface}" multicast="default"/>'
        "</Interfaces></General></Domain></CycloneDDS>"
    )


def join(interface: str, domain: int) -> DomainParticipant:
    """Return a participant of a domain on one interface, or raise RobotError."""
    os.environ["CYCLONEDDS_URI"] = configuration(interface)
    try:
        return DomainParticipant(domain)
    except Exception as error:  # DDSException, whose text is a number
        raise RobotError(
            f"CycloneDDS cannot use interface '{interface}' for domain {domain}: {error}; "
            f"there are {interfaces()}"
        ) from None


def interfaces() -> list[str]:
    """Return the names of this machine's network interfaces."""
    folder = "/sys/class/net"
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def newest_only() -> Qos:
    """Return what both topics are read with: best effort, the last sample only."""
    return Qos(Policy.Reliability.BestEffort, Policy.History.KeepLast(1))


def sent_once() -> Qos:
    """Return what both topics are written with; never waits for a slow reader."""
    return Qos(
        Policy.Reliability.Reliable(duration(milliseconds=1)),
        Policy.History.KeepLast(1),
    )


def writer(participant: DomainParticipant, name: str, kind: Any) -> DataWriter:
    """Return a writer of one of the two topics."""
    return DataWriter(participant, Topic(participant, name, kind), qos=sent_once())


def reader(participant: DomainParticipant, name: str, kind: Any) -> DataReader:
    """Return a reader of one of the two topics."""
    return DataReader(participant, Topic(participant, name, kind), qos=newest_only())


def foreign(participant: DomainParticipant, name: str, kind: Any, depth: int = 1) -> DataReader:
    """Return a reader of one of the two topics that hears other participants only."""
    qos = Qos(
        Policy.Reliability.BestEffort,
        Policy.History.KeepLast(depth),
        Policy.IgnoreLocal.Participant,
    )
    return DataReader(participant, Topic(participant, name, kind), qos=qos)


class Others:
    """Who else writes a topic: how many writers there are, and whether they say anything.

    Polled, because a listener in Python is called from DDS's threads until the very end of the
    interpreter, and crashes it there. One poll costs about a microsecond.
    """

    def __init__(self, participant: DomainParticipant, name: str, kind: Any) -> None:
        self._reader = foreign(participant, name, kind)
        self._matched = DDS._dll_handle.dds_get_matched_publications  # not wrapped by the binding
        self._matched.argtypes = (ct.c_int32, ct.c_void_p, ct.c_size_t)
        self._matched.restype = ct.c_int32

    @property
    def count(self) -> int:
        """Return the number of writers of other participants."""
        return max(0, int(self._matched(self._reader._ref, None, 0)))

    def heard(self) -> bool:
        """Return True if another writer has written since the last time."""
        return bool(self._reader.take(1))
