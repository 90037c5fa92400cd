"""The kernels in C++ for CPUs; `functions.py` is their Python side; read `kernels.hpp` first."""
