"""The H1's services over DDS: requests and responses, as `rt/api/<service>/{request,response}`.

One service matters here, the motion switcher, which starts and ends the programs that move the
robot by themselves. Calls wait and are for the start; `watch` never waits and is for the loop.
Wire facts: unitree_sdk2_python's rpc and motion_switcher. No postponed annotations, as in
unitree_idl: the DDS binding reads them as types.
"""

# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportInvalidTypeForm=false, reportCallIssue=false, reportArgumentType=false

import json
import time
from dataclasses import dataclass
from typing import Any

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import int32, int64, sequence, uint8
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

SERVICE = "motion_switcher"
CHECK_MODE, SELECT_MODE, RELEASE_MODE = 1001, 1002, 1003
_TYPE = "unitree_api.msg.dds_."
AGAIN = 0.5  # s between two tries of a call: the other side may just be appearing


@dataclass
class Identity(IdlStruct, typename=_TYPE + "RequestIdentity_"):
    """Which call this is."""

    id: int64
    api_id: int64


@dataclass
class Lease(IdlStruct, typename=_TYPE + "RequestLease_"):
    """Not used by the motion switcher."""

    id: int64


@dataclass
class CallPolicy(IdlStruct, typename=_TYPE + "RequestPolicy_"):
    """How to treat a call."""

    priority: int32
    noreply: bool


@dataclass
class RequestHeader(IdlStruct, typename=_TYPE + "RequestHeader_"):
    """What comes before a request's parameter."""

    identity: Identity
    lease: Lease
    policy: CallPolicy


@dataclass
class Request(IdlStruct, typename=_TYPE + "Request_"):
    """A call: its parameter is JSON."""

    header: RequestHeader
    parameter: str
    binary: sequence[uint8]


@dataclass
class Status(IdlStruct, typename=_TYPE + "ResponseStatus_"):
    """0 is success."""

    code: int32


@dataclass
class ResponseHeader(IdlStruct, typename=_TYPE + "ResponseHeader_"):
    """What comes before a response's data."""

    identity: Identity
    status: Status


@dataclass
class Response(IdlStruct, typename=_TYPE + "Response_"):
    """An answer: its data are JSON."""

    header: ResponseHeader
    data: str
    binary: sequence[uint8]


class SwitcherError(RuntimeError):
    """The motion switcher does not answer, or refuses."""


def reliable() -> Qos:
    """Return the quality of service of calls and answers."""
    return Qos(Policy.Reliability.Reliable(duration(milliseconds=10)), Policy.History.KeepLast(10))


def topics(service: str) -> tuple[str, str]:
    """Return the names of a service's (request, response) topics."""
    return f"rt/api/{service}/request", f"rt/api/{service}/response"


def serving_ends(participant: DomainParticipant, service: str) -> tuple[DataReader, DataWriter]:
    """Return the server's ends of a service: a reader of requests and a writer of responses."""
    asked, answered = topics(service)
    requests = DataReader(participant, Topic(participant, asked, Request), qos=reliable())
    return requests, DataWriter(participant, Topic(participant, answered, Response), qos=reliable())


class MotionSwitcher:
    """The client's end of the motion switcher."""

    def __init__(self, participant: DomainParticipant, service: str = SERVICE) -> None:
        asked, answered = topics(service)
        self._writer = DataWriter(participant, Topic(participant, asked, Request), qos=reliable())
        self._reader = DataReader(
            participant, Topic(participant, answered, Response), qos=reliable()
        )
        self.active: str | None = None  # the motion program as last told; None: never told
        self._asked: set[int] = set()
        self._last = 0

    def active_program(self, timeout: float) -> str:
        """Return the name of the program that moves the robot, or an empty string."""
        return _name(self._call(CHECK_MODE, timeout))

    def release(self, timeout: float) -> list[str]:
        """End the motion programs until there is none; return the names of those ended."""
        deadline, ended = time.monotonic() + timeout, []
        while name := self.active_program(max(AGAIN, deadline - time.monotonic())):
            if time.monotonic() > deadline:
                raise SwitcherError(f"'{name}' is still active {timeout:g} s after its release")
            if name not in ended:
                ended.append(name)
            self._call(RELEASE_MODE, max(AGAIN, deadline - time.monotonic()))
            time.sleep(0.1)
        return ended

    def ask(self, api: int = CHECK_MODE) -> None:
        """Send a call and do not wait; `watch` sees the answer."""
        self._asked = {self._send(api)} if api == CHECK_MODE else self._asked
        if api != CHECK_MODE:
            self._send(api)

    def watch(self) -> str | None:
        """Take what has been answered, without waiting; return `active`."""
        for sample in self._reader.take(4):
            answer = _answer(sample, self._asked)
            if answer is not None and answer.header.status.code == 0:
                self.active = _name(answer.data)
        return self.active

    def _call(self, api: int, timeout: float) -> str:
        """Call and wait for the answer's data; ask again now and then, answers to any try count."""
        deadline, again, tries = time.monotonic() + timeout, 0.0, set()
        while (now := time.monotonic()) < deadline:
            if now >= again:
                tries.add(self._send(api))
                again = now + AGAIN
            for sample in self._reader.take(4):
                answer = _answer(sample, tries)
                if answer is None:
                    continue
                if answer.header.status.code != 0:
                    code = answer.header.status.code
                    raise SwitcherError(f"{SERVICE} refuses call {api} with code {code}")
                return answer.data
            time.sleep(0.005)
        raise SwitcherError(f"{SERVICE} does not answer call {api} within {timeout:g} s")

    def _send(self, api: int) -> int:
        self._last = max(time.monotonic_ns(), self._last + 1)
        header = RequestHeader(Identity(self._last, api), Lease(0), CallPolicy(0, False))
        self._writer.write(Request(header, "{}", []))
        return self._last


def _answer(sample: Any, asked: set[int]) -> Response | None:
    known = isinstance(sample, Response) and sample.header.identity.id in asked
    return sample if known else None


def _name(data: str) -> str:
    """Return the program's name in CheckMode's answer; what is no such answer counts as active."""
    try:
        return str(json.loads(data).get("name", ""))
    except (ValueError, AttributeError):
        return f"unreadable answer {data[:40]!r}"
