"""The rollout brain: `plan(desired, observed, now) -> Plan`. No I/O, no clock, no Kafka, no Kubernetes.

The operator feeds it resources from a cluster, the command `rollcast` the same YAML from a folder.
"""
