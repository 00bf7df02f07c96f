"""Pictures out of video files. `video_frames` needs no other module of the package, so that a detector
in an environment of its own runs it too.
"""
