"""Callbacks that cannot end a node: what one raises is reported, rclpy's own callbacks included.

What a callback raises comes out of the executor and ends the process, and rclpy's own callbacks raise too: the
parameter service at a type of parameter that does not exist, the clock at a negative time. One odd message from anybody
on the graph would end the node.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter

_TYPES = sorted(kind.value for kind in Parameter.Type)  # rcl_interfaces/ParameterType


class GuardedCallbacks(Node):
    """Base of an rclpy node, before any other: guards every callback that is created on it, by whomever.

    rclpy creates its own parameter services and its subscription of /clock by the same methods. A callback must not be
    a coroutine: what that raises comes later, out of the executor.
    """

    def fault(self, name: str, error: Exception) -> None:
        """Report what the callback of `name` (a topic or a service) raised; called while `error` is handled."""
        raise NotImplementedError

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., Any], qos_profile: Any, **options: Any
    ) -> Any:
        """As rclpy's; a message whose callback raises is as good as lost."""
        return super().create_subscription(msg_type, topic, self._guarded(topic, callback), qos_profile, **options)

    def create_timer(
        self, timer_period_sec: float, callback: Callable[..., Any] | None, *more: Any, **options: Any
    ) -> Any:
        """As rclpy's; goes on after a callback that raised."""
        name = getattr(callback, "__name__", "timer").strip("_")
        guarded = None if callback is None else self._guarded(name, callback)
        return super().create_timer(timer_period_sec, guarded, *more, **options)

    def create_service(self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any], **options: Any) -> Any:
        """As rclpy's; whoever asked is answered without success, with the reason, where the callback raises."""
        answer = self._answering(srv_type, srv_name, callback)
        return super().create_service(srv_type, srv_name, answer, **options)

    def _guarded(self, name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(callback)  # rclpy looks at the signature
        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Exception as error:
                self.fault(name, error)
                return None

        return guarded

    def _answering(self, srv_type: Any, name: str, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def attempt(request: Any) -> tuple[Any, str]:
            """What the callback answers, and an empty text; or None, and why there is no answer."""
            try:
                return callback(request, srv_type.Response()), ""
            except Exception as error:
                self.fault(name, error)
                return None, f"{type(error).__name__}: {error}"

        def answer(request: Any, response: Any) -> Any:
            given, reason = attempt(request)
            return _without_success(response, reason) if given is None else given

        def one_by_one(request: Any, response: Any) -> Any:
            """Each parameter has its own result, whatever becomes of the others."""
            for parameter in request.parameters:
                given, reason = None, self._unknown_type([parameter])
                if not reason:
                    given, reason = attempt(SetParameters.Request(parameters=[parameter]))
                refused = [SetParametersResult(successful=False, reason=reason)]
                response.results = [*response.results, *(refused if given is None else given.results)]
            return response

        def all_or_none(request: Any, response: Any) -> Any:
            given, reason = None, self._unknown_type(request.parameters)
            if not reason:
                given, reason = attempt(request)
            refused = SetParametersResult(successful=False, reason=reason)
            response.result = refused if given is None else given.result
            return response

        return {SetParameters: one_by_one, SetParametersAtomically: all_or_none}.get(srv_type, answer)

    def _unknown_type(self, parameters: Any) -> str:
        """Which of these has a type that does not exist; empty where none has. The sender's mistake, and no fault."""
        for parameter in parameters:
            if parameter.value.type not in _TYPES:
                reason = (
                    f"parameter {parameter.name!r} has type {parameter.value.type}, wanted one of "
                    f"rcl_interfaces/ParameterType, {_TYPES[0]} to {_TYPES[-1]}: fix the sender"
                )
                self.get_logger().warning(f"refused to set a parameter: {reason}", throttle_duration_sec=5.0)
                return reason
        return ""


def _without_success(response: Any, reason: str) -> Any:
    """An answer as it was made, which says so where it has the fields of std_srvs."""
    if hasattr(response, "success"):
        response.success = False
    if hasattr(response, "message"):
        response.message = reason
    return response
