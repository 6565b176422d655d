"""The predictor: one slot of a model's consumer group; a streamer and its model hosts."""
