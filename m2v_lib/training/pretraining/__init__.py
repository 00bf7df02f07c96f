"""Stage 1: predict a teacher's representations of the whole sequence from masked copies of it
(paper III-B).
"""
