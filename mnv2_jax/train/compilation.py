"""Programs that were compiled before are read back: across runs, experiments and processes."""

from pathlib import Path

import jax


def keep_programs(folder: Path | None) -> None:
    """Keeps compiled programs in `folder` from now on; None keeps none.

    Equal programs, of whatever experiment, are compiled once for a kind of device and a version of
    jax. A run's values are arguments of its program, so that another learning rate asks for no
    compilation.

    Raises:
      OSError: the folder cannot be made.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
    # What compiles in less than half a second is as quickly compiled as read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
