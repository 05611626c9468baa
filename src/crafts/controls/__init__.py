"""Control images: nuclei masks, fluorescence and hematoxylin; synthesis of nuclei."""
