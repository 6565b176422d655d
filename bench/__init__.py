"""`python -m bench`: how fast, as ratios in one run on real Kafka."""
