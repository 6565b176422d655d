"""What people write to us: requests to models, answers to what was predicted, and the conversation about both."""
