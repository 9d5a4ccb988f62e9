"""Bags read, written, played and recorded, by rosbags; the reader and the writers need no ROS."""
