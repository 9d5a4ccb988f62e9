"""Where the files that are not code lie: weights, model configurations, DDS profile, launch files, sample.

They belong to one version of the code, so the search starts from this file and never prefers another
installation: the checkout this file is in (run from the tree, `pip install -e`, or linked there by
`colcon build --symlink-install`), else `share/villa_ros` under the prefix this file is installed in (pip,
colcon), else what the ament index names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = "villa_ros"

_IN_CHECKOUT = {"weights": ("model", "weights"), "configs": ("model", "configs")}


def share_path(*parts: str) -> Path:
    """Absolute path of a file or folder of the package share, such as `share_path("weights")`.

    The first part is one of weights, configs, config, launch, sample; without parts, the share itself.

    Raises:
        FileNotFoundError: the share, or the file in it, is not there; the message says where it was sought.
    """
    here = Path(__file__)
    checkout = _checkout(here)
    if checkout is not None:
        path = checkout.joinpath(*_IN_CHECKOUT.get(parts[0], parts[:1]), *parts[1:]) if parts else checkout
    else:
        path = _installed(here).joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist, but belongs to the {PACKAGE} package. "
            "Install the package again, or take a complete checkout."
        )
    return path


def _checkout(module: Path) -> Path | None:
    # resolve(): colcon --symlink-install puts links to the sources on the path
    root = module.resolve().parents[2]
    return root if (root / "setup.py").is_file() and (root / "model").is_dir() else None


def _installed(module: Path) -> Path:
    for root in module.absolute().parents:  # <prefix>/lib/python3.x/site-packages, deeper on Debian
        share = root / "share" / PACKAGE
        if (share / "package.xml").is_file():
            return share
    share_from_index = _from_ament_index()
    if share_from_index is not None:
        return share_from_index
    raise FileNotFoundError(
        f"no share/{PACKAGE} in any folder above {module}, and none by AMENT_PREFIX_PATH "
        f"({os.environ.get('AMENT_PREFIX_PATH', 'not set')}). Install with `pip install .`, "
        "or `colcon build` and source install/setup.bash."
    )


def _from_ament_index() -> Path | None:
    try:
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    except ImportError:  # no ROS here: nothing to ask
        return None
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    try:
        return Path(get_package_share_directory(PACKAGE))
    except PackageNotFoundError:
        return None
