"""Speech: sound in, commands out, without ROS. docs/speech.md says how it is used."""
