"""PaDiM: a Gaussian of joined feature channels at each position (Defard, Setkov, Loesch and Audigier 2021)."""
