"""The dimension dependency graph: which coordinates of which axes must be removed together."""

from __future__ import annotations

from onnxslim.analysis.dependency.analyze import Dependency, analyze
from onnxslim.analysis.dependency.groups import Frozen, Group, Kept, Role, Site

__all__ = ["Dependency", "Frozen", "Group", "Kept", "Role", "Site", "analyze"]
