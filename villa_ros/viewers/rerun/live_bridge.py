"""What is heard of a live node, shown in Rerun: pictures with their own masks, words, latency and metres."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from villa_ros.conversions.images import BadImage
from villa_ros.pipeline.label_images import in_view
from villa_ros.viewers.camera_feed import KEPT_PICTURES
from villa_ros.viewers.picture import PictureError
from villa_ros.viewers.request_log import KEPT_REQUESTS
from villa_ros.viewers.rerun.scene import Placed, RerunScene

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from villa_ros.pipeline.camera_model import CameraModel
    from villa_ros.viewers.camera_feed import View
    from villa_ros.viewers.node_health import Line
    from villa_ros.viewers.node_state import NodeState
    from villa_ros.viewers.request_log import AskedRequest
    from villa_ros.viewers.rerun.target import Target

_LOG = logging.getLogger(__name__)

_WAKE_S = 0.2  # to look after the viewer where nothing is heard
_CLOSE_S = 5.0
_LEVELS = {"ok": "INFO", "warn": "WARN", "error": "ERROR", "stale": "WARN"}
_P50 = "/p50_ms"


class Bridge:
    """Writes what a `NodeState` knows to Rerun, from a thread of its own that holds up nobody.

    It is a browser's counterpart: it takes the newest of everything when the viewer can take it, so that nothing piles
    up before a viewer that is slow, stopped or gone.

    Attributes:
        shown_ns: Stamp of the picture that was written last, 0 before the first; words are given it, having none.
    """

    def __init__(self, heard: NodeState, target: Target) -> None:
        self._heard = heard
        self._target = target
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._models: dict[str, CameraModel] = {}
        self._clouds: dict[str, tuple[int, NDArray[np.float32], NDArray[np.uint32]]] = {}  # newest of each camera
        self._objects: dict[str, tuple[int, Sequence[Placed]]] = {}
        self._thread = threading.Thread(target=self._run, name="rerun-bridge", daemon=True)
        self._scene: RerunScene | None = None
        self._begin()
        self._end_listening = heard.listen(self._changed.set)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> bool:
        """Write what was heard last, and end; False where a viewer that takes nothing holds it up."""
        self._end_listening()
        self._closing.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)
        return not self._thread.is_alive()

    # What the cameras' depth tells, from any thread

    def calibration(self, camera: str, model: CameraModel) -> None:
        """A camera's calibration came."""
        with self._lock:
            self._models[camera] = model

    def points(self, camera: str, stamp_ns: int, points: NDArray[np.float32], labels: NDArray[np.uint32]) -> None:
        """Points of objects came [N, 3] m, with their labels [N]."""
        with self._lock:
            self._clouds[camera] = (stamp_ns, points, labels)
        self._changed.set()

    def objects(self, camera: str, stamp_ns: int, objects: Sequence[Placed]) -> None:
        """Objects in metres came."""
        with self._lock:
            self._objects[camera] = (stamp_ns, objects)
        self._changed.set()

    # The thread's own

    def _run(self) -> None:
        while not self._closing.is_set():
            self._changed.wait(_WAKE_S)
            self._changed.clear()
            self._guarded_step()
        self._guarded_step()
        self._target.close()

    def _guarded_step(self) -> None:
        try:
            self._step()
        except Exception:  # one odd message must not end the bridge; what it was in is not tried again
            _LOG.exception("could not be shown in Rerun")

    def _begin(self) -> None:
        """Nothing has been told to this scene yet."""
        self._shown: dict[str, tuple[int, int]] = {}  # camera -> key of the view
        self._pictured: dict[str, deque[int]] = {}  # camera -> stamps of its last pictures
        self._revision = 0
        self._lines: tuple[Line, ...] = ()
        self._messages: dict[str, str] = {}  # line -> what it said last
        self._states: OrderedDict[str, tuple[str, str]] = OrderedDict()  # request -> state and answer as told
        self.shown_ns = 0

    def _step(self) -> None:
        scene = self._target.scene()
        if scene is not self._scene:
            self._scene = scene
            self._begin()
        if scene is None:
            return
        for camera in self._heard.cameras:
            self._show(scene, camera)
        if self.shown_ns:
            self._tell_requests(scene)
            self._tell_health(scene)

    def _show(self, scene: RerunScene, camera: str) -> None:
        view = self._heard.view(camera)
        if view is not None and self._shown.get(camera) != view.key:
            self._shown[camera] = view.key
            self._show_view(scene, view)
        self._show_metres(scene, camera)

    def _show_view(self, scene: RerunScene, view: View) -> None:
        camera, stamp_ns = view.picture.camera, view.picture.stamp_ns
        instances = view.tracks.instances if view.tracks else ()
        pictured = self._pictured.setdefault(camera, deque(maxlen=KEPT_PICTURES))
        if stamp_ns in pictured and not in_view(instances):
            return  # the end of a request comes with the stamp of its last masks, which are still right
        if stamp_ns not in pictured:
            try:
                scene.picture(view.picture)
            except (BadImage, PictureError) as error:
                self._heard.bad_picture(camera, str(error))
                return
            pictured.append(stamp_ns)
        self.shown_ns = stamp_ns
        scene.tracks(view.picture, instances)
        if view.tracks is not None and view.latency_s is not None:
            scene.latency(stamp_ns, camera, 1e3 * view.latency_s, f"{camera}, arrival to tracks")

    def _show_metres(self, scene: RerunScene, camera: str) -> None:
        with self._lock:
            model = self._models.get(camera)
            cloud, objects = self._clouds.pop(camera, None), self._objects.pop(camera, None)
        if model is not None:
            scene.calibration(camera, model)
        if cloud is not None:
            scene.points(camera, *cloud)
        if objects is not None:
            scene.objects(camera, *objects)

    def _tell_requests(self, scene: RerunScene) -> None:
        self._revision, changed = self._heard.requests(self._revision)
        for entry in changed:
            self._tell_request(scene, entry)

    def _tell_request(self, scene: RerunScene, entry: AskedRequest) -> None:
        known = self._states.get(entry.request_id)
        if known is None:
            scene.say(self.shown_ns, "request", f"{entry.request_id}: {entry.text or '(asked in another way)'}")
        state = "lost with its node" if entry.lost else entry.state.name.lower()
        answer = entry.answer if entry.answered else ""
        if known is None or known[0] != state:
            told = f"{entry.request_id}: {state}" + (f", {entry.message}" if entry.message else "")
            scene.say(self.shown_ns, "state", told, "ERROR" if entry.error_code else "INFO")
        if answer and (known is None or known[1] != answer):
            scene.say(self.shown_ns, "answer", f"{entry.request_id}: {answer}")
        self._states[entry.request_id] = (state, answer)
        self._states.move_to_end(entry.request_id)
        if len(self._states) > 2 * KEPT_REQUESTS:
            self._states.popitem(last=False)

    def _tell_health(self, scene: RerunScene) -> None:
        lines = self._heard.health().lines
        if lines is self._lines:
            return
        self._lines = lines
        for line in lines:
            if line.message and self._messages.get(line.name) != line.message and line.level != "ok":
                scene.say(self.shown_ns, "node", f"{line.name}: {line.message}", _LEVELS[line.level])
            self._messages[line.name] = line.message
            for key, value in line.values.items():
                if key.endswith(_P50):
                    stage = key.removesuffix(_P50)
                    scene.latency(self.shown_ns, stage, float(value), f"{stage}, median")
