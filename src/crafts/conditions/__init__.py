"""All that a denoiser is told beside its noisy latents: text, maps, numbers; see ``condition``."""
