"""Start the segmentation node: ros2 launch villa_ros villa.launch.py image_topic:=/camera/image_raw."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from villa_ros.share import share_path

# name, default, description
ARGUMENTS = (
    ("namespace", "", "namespace of the node; its topics are below <namespace>/villa_node"),
    ("image_topic", "image", "image topic; CompressedImage where it ends in /compressed, else Image"),
    ("checkpoint", "", "file or folder of the model; empty: the one shipped with the package"),
    ("device", "cpu", "torch device that runs the model: cpu, cuda, cuda:1"),
    ("autostart", "true", "configure and activate without waiting for a lifecycle transition"),
    (
        "params_file",
        str(share_path("config", "villa_node.yaml")),
        "parameters of the node; what it sets wins over checkpoint, device and autostart",
    ),
    (
        "fastdds_profile",
        str(share_path("config", "fastdds_shm.xml")),
        "Fast DDS profile of every process started here, so that images fit its shared memory",
    ),
)


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in ARGUMENTS
    ]
    profile = SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile"))
    node = Node(
        package="villa_ros",
        executable="villa_node",
        name="villa_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        remappings=[("image", LaunchConfiguration("image_topic"))],
        parameters=[
            {
                "checkpoint": ParameterValue(LaunchConfiguration("checkpoint"), value_type=str),
                "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
            },
            LaunchConfiguration("params_file"),
        ],
    )
    return LaunchDescription([*arguments, profile, node])
