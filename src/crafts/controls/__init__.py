"""Control images: nuclei masks, fluorescence and hematoxylin; inventing and editing nuclei."""
