"""From prompts and seeds to latents and pixels: conditioning, guidance, samplers."""
