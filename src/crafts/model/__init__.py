"""Networks and their folders.

One module a network (``codec``, ``text``, ``denoiser``, ``control``, ``encoders``, ``segmenter``,
``discriminator``), with sizes in ``config`` and costs in ``count``; ``schedule`` says what the
denoiser learns, ``bundle`` joins parts into a checkpoint. ``files`` reads and writes their folders,
``vision`` holds the encoders of others.
"""
