"""Greatest Hits and folders of videos: layouts, splits, preprocessing, a feature cache, data sets and their report."""
