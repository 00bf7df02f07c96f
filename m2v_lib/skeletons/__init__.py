"""Skeletons: joints, bones, sides and graphs; the known ones, and your own from a YAML file."""

from m2v_lib.skeletons.h36m import H36M17
from m2v_lib.skeletons.known import KNOWN, skeleton_of
from m2v_lib.skeletons.skeleton import Skeleton, SkeletonError
from m2v_lib.skeletons.vocabulary import VOCABULARY, choose

__all__ = [
    "H36M17",
    "KNOWN",
    "VOCABULARY",
    "Skeleton",
    "SkeletonError",
    "choose",
    "skeleton_of",
]
