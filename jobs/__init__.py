"""The cluster and the command line. Imports pipeline/, never the reverse."""
