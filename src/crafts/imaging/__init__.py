"""What slides, captions, data and controls share: files of pictures, opened one way, and stains."""
