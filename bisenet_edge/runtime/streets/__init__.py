"""Procedural driving scenes with exact labels: pictures for demos, tests and training, no download.

camera and canvas know geometry and pixels; style is one scene's look; textures, foliage, people, plates and
cars are what things look like; ground and sky are the backdrop; world and traffic say what stands and moves
where; scene puts it all into one frame.
"""

from bisenet_edge.runtime.streets.dataset import SyntheticDataset
from bisenet_edge.runtime.streets.scene import Scene

__all__ = ["Scene", "SyntheticDataset"]
