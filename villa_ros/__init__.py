"""ROS 2 adapters around the ViLLa pipeline. Importing this package imports no ROS."""
