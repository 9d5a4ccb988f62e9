"""Start the speech node: ros2 launch villa_ros speech.launch.py device:=Jabra.

It sends commands to a villa node that runs already (villa.launch.py). To be included by other launch files as it is:
every argument has a default, nothing is evaluated, nothing downloaded.
"""

from typing import List  # noqa: UP035 - launch_ros knows this spelling in every distribution

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

YES_NO = ("true", "false")
LEVELS = ("debug", "info", "warn", "error", "fatal")
TEXTS = List[str]  # noqa: UP006
# name, default, description, choices, type of the parameter (None: of the launch file itself)
ARGUMENTS = (
    ("namespace", "", "namespace of the node; its topics are below <namespace>/villa_speech", None, None),
    ("source", "microphone", "where the sound comes from", ("microphone", "topic", "wav", "live_speech"), str),
    ("device", "", "microphone: part of its device's name; empty: the system's default", None, str),
    ("wav", "", "wav: file that is played once, as if somebody spoke it now", None, str),
    ("audio_topic", "audio", "topic: where the sound is published", None, None),
    ("audio_type", "std_msgs/UInt8MultiArray", "topic: message type of the sound",
     ("std_msgs/UInt8MultiArray", "audio_common_msgs/AudioData", "audio_common_msgs/AudioDataStamped",
      "audio_common_msgs/AudioStamped"), str),
    ("villa_node", "villa_node", "node that gets the commands", None, str),
    ("camera", "", "camera of the commands; empty: the first one", None, str),
    ("model", "", "folder of a Whisper for CTranslate2; empty: tiny.en of its package", None, str),
    ("language", "", "language code such as en; empty: found out where the model knows several", None, str),
    ("objects", "['']", "names of the things at hand, as a list; empty: what the shipped model knows", None, TEXTS),
    ("listen", "always", "which speech is for the robot; stops always are",
     ("always", "push_to_talk", "wake_word"), str),
    ("wake_words", "['robot', 'hey robot', 'villa']", "what a command begins with where listen is wake_word", None,
     TEXTS),
    ("confirm", "never", "ask `did you mean ...?` before a command is sent", ("never", "unsure", "always"), str),
    ("use_sim_time", "false", "take the time from /clock", YES_NO, bool),
    ("respawn", "false", "start the node again, after 2 s, when its process dies", YES_NO, None),
    ("log_level", "info", "least severe messages that are logged", LEVELS, None),
)  # fmt: skip


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, default, description, choices, _ in ARGUMENTS
    ]
    node = Node(
        package="villa_ros",
        executable="villa_speech",
        name="villa_speech",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=2.0,
        remappings=[("audio", LaunchConfiguration("audio_topic"))],
        ros_arguments=["--log-level", ["villa_speech:=", LaunchConfiguration("log_level")]],
        parameters=[
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, _, _, _, kind in ARGUMENTS
                if kind is not None
            }
        ],
    )
    return LaunchDescription([*arguments, node])
