"""How large what comes from outside may be, in one place; each limit with its reason.

Every number that a file or an option gives is compared with its limit before memory, time or a
path follows from it. The limits lie far above what anybody's data need, so that whoever meets one
has a wrong number and not a large recording.
"""

from __future__ import annotations

from typing import Final

# Recordings of keypoints

#: a day of video at 60 frames a second: a larger number is an id or a time stamp
MAX_FRAME_NUMBER: Final = 24 * 3600 * 60
#: frames that all people of a recording together span once gaps are filled: 1.2 GB of results
MAX_LIFTED_FRAMES: Final = 2_000_000
#: the same at the model's rate, some hours of work: 28 hours of motion at 50 a second
MAX_MODEL_FRAMES: Final = 5_000_000
#: frames a .bvh or a film counts from the recording's first one on, seen or not: 5 hours at 50
MAX_TIMELINE_FRAMES: Final = 1_000_000
#: detections in a file: 10 people in an hour and a half at 60 frames a second
MAX_DETECTIONS: Final = 3_000_000
#: people in one frame: crowds of CrowdPose and PANDA stay below
MAX_PEOPLE_PER_FRAME: Final = 1_000
#: keypoints of a person: COCO-WholeBody has 133, Goliath 308, a face mesh 543
MAX_KEYPOINTS: Final = 1_000
#: tracks of all people; each is a name, a file (.bvh) and a network pass of its own
MAX_PEOPLE: Final = 10_000
#: frames a second. Below the least nobody's motion can be told (a time lapse), above the most no
#: camera records; the model's rate is 50
MIN_FPS: Final = 1.0
MAX_FPS: Final = 2_000.0
#: frames a stream may wait before it answers: 5 s at the highest rate
MAX_LATENCY: Final = 10_000
#: pixels of one side of an image: the largest sensors have some 30,000
MAX_IMAGE_SIDE: Final = 100_000
#: a coordinate in pixels: people leave the image, but not by a hundred images
MAX_COORDINATE: Final = 100.0 * MAX_IMAGE_SIDE
#: focal length in px: of a 100-fold telephoto lens before the largest image
MAX_FOCAL_PX: Final = 100.0 * MAX_IMAGE_SIDE
#: stature in m: of the people the model knows; 170 is centimetres
MIN_STATURE_M: Final = 0.4
MAX_STATURE_M: Final = 2.8
#: a raw score: heat maps of some exporters are summed over flips and scales
MAX_RAW_SCORE: Final = 1e6

# Text that comes from files

#: characters of a name: of a person, a joint, a video, a store
MAX_NAME_LENGTH: Final = 100
#: characters of a text that is no name: what a store says of its protocol and source
MAX_LONG_TEXT: Final = 4_000
#: characters of a name in a message
MAX_SHOWN: Final = 40
#: characters of a message, so that it stays within two lines of a terminal
MAX_MESSAGE: Final = 400

# Files

#: bytes of a text file (JSON, CSV) of keypoints; a JSON of 500 MB becomes some 5 GB of objects
MAX_TEXT_BYTES: Final = 512 << 20
#: bytes of a store's description
MAX_DESCRIPTION_BYTES: Final = 64 << 20
#: bytes of a safetensors header
MAX_HEADER_BYTES: Final = 16 << 20
#: lists and tables inside each other in JSON
MAX_NESTING: Final = 32
#: files of a folder of keypoints, one a frame
MAX_FILES: Final = 1_000_000
#: bytes of an .npz, unpacked: Human3.6M's largest is 2 GB
MAX_UNPACKED_BYTES: Final = 8 << 30
#: unpacked to packed bytes; joint positions come to less than ten
MAX_PACKING_RATIO: Final = 200
#: bytes unpacked that may have any ratio: an array of zeros is no bomb
SMALL_UNPACKED_BYTES: Final = 1 << 26
#: arrays in an .npz
MAX_ARRAYS: Final = 10_000

# Pickles: an instruction of one byte makes an object of a hundred

#: containers that the instructions make; NTU RGB+D 120's file has some 1.5 million
MAX_PICKLE_CONTAINERS: Final = 4_000_000
#: containers, or object arrays, inside each other; published files have 6
MAX_PICKLE_DEPTH: Final = 64
#: objects held at a time, and objects the result unfolds to when whatever is shared counts each
#: time: so many, or so many a byte of the pickle. Every object that is written out takes a byte
#: or more, so that only what is shared over and over can exceed both
MAX_PICKLE_OBJECTS: Final = 1_000_000
PICKLE_OBJECTS_PER_BYTE: Final = 4
#: bytes made beside what are views of the file: so many, and four a byte of the pickle
MAX_PICKLE_MADE_BYTES: Final = 64 << 20
#: tuples as keys: their hashes can be made alike, and a dictionary of like hashes takes the square
#: of its size
MAX_PICKLE_TUPLE_KEYS: Final = 4_000
