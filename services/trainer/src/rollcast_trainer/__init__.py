"""The trainer: from a data set to a model file on S3 and an event on topic `train`."""
