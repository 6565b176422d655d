"""Model files and what is said about them: card, input schema, safe loading, scoring of raw rows.

The trainer writes with this package what a predictor's host reads with it, so both mean the same.
Importing it needs scikit-learn (extra `models`); only the trainer and the model hosts do.
"""
