"""Between the pipeline's data and ROS messages, of rclpy and of rosbags alike."""
