"""Every method on every category with several seeds: planned, run, kept, then tables and tests of difference."""
