"""A folder to put on a PYTHONPATH: `import mesibo` is then the stand-in for the SDK."""
