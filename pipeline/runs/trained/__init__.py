"""Files that a finished run gets when it is used."""
