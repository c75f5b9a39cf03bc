//! Bodies of the fuzz targets; the tests replay the corpora in `fuzz/corpus` through them.
