"""The rollout brain: pure, shared by the operator and the command line."""
