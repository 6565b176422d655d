"""A world without Kafka, Kubernetes and clocks, in which plans can be tried: slots that obey, a shell that writes."""

from rollcast_rollout.simulation.slots import Refusal, SimulatedSlot
from rollcast_rollout.simulation.traffic import Behaviour, serve
from rollcast_rollout.simulation.world import ShellDied, World

__all__ = ["Behaviour", "Refusal", "ShellDied", "SimulatedSlot", "World", "serve"]
