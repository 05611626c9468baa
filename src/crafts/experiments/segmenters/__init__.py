"""Do synthetic pairs of tile and mask help a segmenter? Arms of pairs, judged on real tiles."""
