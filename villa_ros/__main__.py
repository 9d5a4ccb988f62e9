"""`python -m villa_ros` is the `villa` command."""

from villa_ros.cli.main import main

main()
