"""What lets a run stop at any instant and go on: checkpoints, its history, requests to stop."""
