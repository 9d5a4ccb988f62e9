# villa_ros on a native ROS 2, by the steps of docs/install.md. Not built by our tests, which run without a container
# runtime: if a step fails, tell us which.
#
#   docker build -t villa_ros .                                  (--build-arg ROS_DISTRO=kilted)
#   docker run --rm -it --net host --ipc host villa_ros ros2 launch villa_ros villa.launch.py image_topic:=/camera/image_raw
#
# --net host: DDS finds the robot's nodes. --ipc host: images come through shared memory. With a GPU: --gpus all.
# --build-arg TORCH="torch==... --find-links ...": another build of PyTorch, such as one that fits your driver.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ARG TORCH="torch>=2.6"
ENV PIP_NO_CACHE_DIR=1
WORKDIR /villa_ros

# What changes seldom comes first, so that a change of code builds in a minute.
COPY requirements/native.txt requirements/native.txt
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && pip install --break-system-packages ${TORCH} \
    && pip install --break-system-packages -r requirements/native.txt \
    && rm -rf /var/lib/apt/lists/*

COPY package.xml package.xml
COPY msg/package.xml msg/package.xml
RUN apt-get update \
    && rosdep update --rosdistro "${ROS_DISTRO}" \
    && rosdep install --from-paths . msg --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*

COPY . .
RUN source "/opt/ros/${ROS_DISTRO}/setup.bash" && colcon build

# The base image's entry point sources ROS 2 alone.
RUN printf '%s\n' '#!/bin/bash' 'set -e' 'source /villa_ros/install/setup.bash' 'exec "$@"' > /villa_entrypoint.sh \
    && chmod +x /villa_entrypoint.sh
ENTRYPOINT ["/villa_entrypoint.sh"]
CMD ["ros2", "launch", "villa_ros", "villa.launch.py"]
