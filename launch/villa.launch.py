"""Start the segmentation node: ros2 launch villa_ros villa.launch.py image_topic:=/camera/image_raw.

To be included by other launch files as it is: every argument has a default, nothing is evaluated, nothing downloaded.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from villa_ros.runtime.package_share import share_path

YES_NO = ("true", "false")
LEVELS = ("debug", "info", "warn", "error", "fatal")
# name, default, description, choices
ARGUMENTS = (
    ("namespace", "", "namespace of the node; its topics are below <namespace>/villa_node", None),
    ("image_topic", "image", "image topic of the only camera; several cameras are named in params_file", None),
    ("checkpoint", "", "file or folder of the model; empty: the one shipped with the package", None),
    ("device", "cpu", "torch device that runs the model: cpu, cuda, cuda:1", None),
    ("load_when", "configure", "load the model when configuring, or only while the node is active",
     ("configure", "activate")),
    ("autostart", "true",
     "configure and activate at once; false leaves that to a lifecycle manager (of Nav2: bond_timeout 0.0)", YES_NO),
    ("use_sim_time", "false", "take the time from /clock", YES_NO),
    ("respawn", "false", "start the node again, after 2 s, when its process dies", YES_NO),
    ("log_level", "info", "least severe messages that are logged", LEVELS),
    ("params_file", str(share_path("config", "villa_node.yaml")),
     "parameters of the node, cameras among them; what it sets wins over the arguments here", None),
    ("fastdds_profile", str(share_path("config", "fastdds_shm.xml")),
     "Fast DDS profile of every process started here, so that images fit its shared memory", None),
)  # fmt: skip


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices in ARGUMENTS
    ]
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile"))
    node = Node(
        package="villa_ros",
        executable="villa_node",
        name="villa_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=2.0,
        remappings=[("image", LaunchConfiguration("image_topic"))],
        ros_arguments=["--log-level", ["villa_node:=", LaunchConfiguration("log_level")]],
        parameters=[
            {
                "checkpoint": ParameterValue(LaunchConfiguration("checkpoint"), value_type=str),
                "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
                "load_when": ParameterValue(LaunchConfiguration("load_when"), value_type=str),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
            },
            LaunchConfiguration("params_file"),
        ],
    )
    return LaunchDescription([*arguments, profile, node])
