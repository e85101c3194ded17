"""Makes data sets: of a folder of images, or by the builders of TFDS."""
