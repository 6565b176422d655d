"""Rollcast on a cluster with real pods, from building its images to uninstalling it, under traffic that is judged."""
