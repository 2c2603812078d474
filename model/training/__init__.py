"""Training, calibration and evaluation of the embedded default model.

Nothing here is linked into the server: these programs make the files of
models/default/ and score pictures.  See README.md beside this file.
"""
