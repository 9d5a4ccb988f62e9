"""What the web console and the Rerun bridge share: the state of a node, as it is heard from outside."""
