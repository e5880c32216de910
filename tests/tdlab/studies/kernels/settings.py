"""Settings with little of everything, at a generic point."""

from dataclasses import replace

from tdlab.studies.kernels import setting

FEW = setting("quick", seeds=2, first_seed=3, problems=2, scales=(0.5, 2))

# N n = 6 numbers are out of reach of one head of width 5, and not of three.
LAYERS = replace(FEW, samples=3, tokens=2, width=5, heads=(1, 3), head_width=3, key_scale=1.3)
