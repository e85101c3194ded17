"""Every file and every column of a workdir, once: writers and readers share it."""

PHASE = "transfer.phase"
"""The config field, and the column, that says which phase of a transfer a run is."""

PRETRAINING = "pretraining"
"""The phase whose runs learn, and are tested on, other classes than those of the others."""

SECTIONS = (PRETRAINING, "scratch", "extraction")
"""The sections of a config that hold what phases set otherwise."""
