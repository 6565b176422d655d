"""Rollouts by the hundred without Kafka and without waiting: how often is a good candidate taken off, a bad one not?"""
