"""Branch and bound over boxes, for networks with few inputs."""
