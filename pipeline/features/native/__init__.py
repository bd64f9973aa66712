"""The C kernels, behind one Python module."""
