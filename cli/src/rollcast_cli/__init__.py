"""The command `rollcast`: everything on one machine, no Kubernetes."""
