"""Play a bag to the node over ROS: ros2 launch villa_ros replay.launch.py bag:=my_bag image_topic:=/camera/image_raw.

Needs `ros2 bag`. To have a bag answered without ROS and without losing a frame, use `villa replay`.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from villa_ros.runtime.package_share import share_path

# name, default, description, choices
ARGUMENTS = (
    ("bag", None, "folder of the bag", None),
    ("image_topic", "image", "image topic in the bag", None),
    ("rate", "1.0", "how many times as fast as it was recorded", None),
    ("checkpoint", "", "file or folder of the model; empty: the one shipped with the package", None),
    ("device", "cpu", "torch device that runs the model: cpu, cuda, cuda:1", None),
    ("params_file", str(share_path("config", "villa_node.yaml")), "parameters of the node", None),
)
_PASSED_ON = ("image_topic", "checkpoint", "device", "params_file")


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_path("launch", "villa.launch.py"))),
        launch_arguments=[
            *((name, LaunchConfiguration(name)) for name in _PASSED_ON),
            ("use_sim_time", "true"),
        ],
    )
    player = ExecuteProcess(
        # A bag is played with its own time: images keep their stamps, and the node lives in that time.
        cmd=["ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "--rate", LaunchConfiguration("rate")],
        output="screen",
    )
    return LaunchDescription([*arguments, node, player])
