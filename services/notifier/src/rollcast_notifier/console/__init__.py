"""The web console: the stream as it runs, a conversation with it, and how its models do."""
