"""The operator: feeds the rollout brain from a Kubernetes cluster and does there what it plans."""
