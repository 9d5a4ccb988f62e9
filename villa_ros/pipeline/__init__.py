"""The ROS-free heart: clip buffer, requests and policies, model worker, tracks, overlay."""
