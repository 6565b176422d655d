"""What both shells of the rollout brain share.

They differ in where ModelVersions and records lie, and in what runs the slots.
"""
