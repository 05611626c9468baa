"""Networks and their folders: codec, text encoder, denoiser, schedule, image-text encoders."""
