"""From an arm's images to measures, from measures to differences between arms and a verdict."""
