"""The rollout brain's shell on one machine: ModelVersions in a folder, slots run by the local stack."""
