"""Source separation of songs: segmentation, inference and overlap-add of the estimates."""
