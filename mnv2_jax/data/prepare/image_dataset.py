"""Writes a folder of images as a TFDS data set in array_record, without TensorFlow.

The bytes of files are kept as they are. TFDS is imported where it is needed.
"""

import itertools
import json
import shutil
from collections.abc import Callable

from mnv2_jax import atomic, checksums
from mnv2_jax.data import folders
from mnv2_jax.data.prepare import shard_workers
from mnv2_jax.data.prepare.image_shards import VERSION, Bad, Note, Plan, Repeated

SKIPPED_NOTE = "skipped.json"


def write(plan: Plan, on_corrupt: str, workers: int, progress: Callable[[int], None]) -> list[Bad]:
    """Writes the data set. What an earlier call has completed is not done again.

    Args:
      plan: see `plan`.
      on_corrupt: "fail", or "skip" to leave out files that cannot be decoded.
      workers: processes; with 1 it is done in this one.
      progress: called with the images that are done, those of earlier calls included.

    Returns:
      The files that were left out.

    Raises:
      ValueError: files cannot be decoded (and are not to be skipped), nothing of a class or of a
        split is left, files change meanwhile, or another process is at work.
      OSError: it cannot be written.
    """
    holder = plan.target.parent
    with atomic.claimed(holder, f"--data_dir={holder.parent} --name={plan.name}"):
        if plan.prepared():  # By a process that has had the claim until now.
            progress(plan.images)
        else:
            notes = _begin(plan)
            shard_workers.run(plan, notes, workers, progress)
            bad = [one for shard in plan.shards for one in notes[shard.name].bad]
            if bad and on_corrupt == "fail":
                raise ValueError(_told(bad, plan.images))
            _check_enough(plan, bad)
            _finish(plan, [notes[shard.name] for shard in plan.shards], bad)
        shutil.rmtree(plan.staging, ignore_errors=True)
    return skipped(plan)


def skipped(plan: Plan) -> list[Bad]:
    """The files that were left out of a data set that is prepared.

    Raises:
      ValueError: the list of them is damaged.
    """
    path = plan.target / SKIPPED_NOTE
    try:
        found = checksums.read_json(path, "files")["files"]
        return [Bad(str(one["path"]), str(one["reason"])) for one in found]
    except FileNotFoundError:
        return []
    except (LookupError, TypeError):
        raise ValueError(f"{path}: damaged; expected a list of files") from None


def repeated(plan: Plan) -> list[Repeated]:
    """The images that are in several splits of a data set that is prepared, if any are."""
    return [Repeated(*one) for one in folders.source(plan.target).get("repeated", ())]


def _begin(plan: Plan) -> dict[str, Note]:
    """Makes the folders, and removes from them all but shards that are complete, given by name."""
    notes = {shard.name: note for shard in plan.shards if (note := plan.note(shard))}
    (plan.staging / "notes").mkdir(parents=True, exist_ok=True)
    plan.growing.mkdir(exist_ok=True)
    # For whoever finds it half made: out of what to go on.
    atomic.write_text(plan.staging / folders.SOURCE_NOTE, json.dumps(_folder(plan)) + "\n")
    kept = {plan.staging / "notes" / f"{name}.json" for name in notes}
    kept |= {plan.growing / name for name in notes}
    # Notes first: killed in between, a shard without its note is not taken for complete.
    for path in itertools.chain((plan.staging / "notes").iterdir(), plan.growing.iterdir()):
        if path not in kept:
            path.unlink()
    return notes


def _folder(plan: Plan) -> dict[str, str]:
    return {"folder": str(plan.folder.root.absolute())}


def _told(bad: list[Bad], images: int) -> str:
    some = ", ".join(f"{path} ({reason})" for path, reason in bad[:5])
    more = f" and {len(bad) - 5:,} more" if len(bad) > 5 else ""
    return (
        f"{len(bad):,} of {images:,} images cannot be decoded: {some}{more}; --on_corrupt=skip "
        f"leaves them out, or repair them and run it again: what is done is kept"
    )


def _check_enough(plan: Plan, bad: list[Bad]) -> None:
    left_out = {path for path, _ in bad}
    for split, files in plan.folder.splits.items():
        labels = {file.label for file in files if file.path not in left_out}
        if not labels:
            raise ValueError(f"{split}: none of its images can be decoded")
        if split == "train" and (missing := set(range(len(plan.folder.classes))) - labels):
            name = plan.folder.classes[min(missing)]
            raise ValueError(f"class {name!r}: none of its images in {split} can be decoded")


def _find_repeated(plan: Plan, notes: list[Note]) -> list[Repeated]:
    earlier: dict[str, str] = {}
    found = []
    for split in plan.folder.splits:
        here: dict[str, str] = {}
        same: list[tuple[str, str]] = []
        for shard, note in zip(plan.shards, notes, strict=True):
            if shard.split != split:
                continue
            bad = {path for path, _ in note.bad}
            kept = (file.path for file in shard.files if file.path not in bad)
            for path, image in zip(kept, note.images, strict=True):
                if image in earlier:
                    same.append((path, earlier[image]))
                here.setdefault(image, path)
        if same:
            found.append(Repeated(split, len(same), *min(same)))
        earlier |= here
    return found


def _finish(plan: Plan, notes: list[Note], bad: list[Bad]) -> None:
    """Describes the shards as TFDS does, and gives the folder its name."""
    import tensorflow_datasets as tfds

    described = list(zip(plan.shards, notes, strict=True))
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[note.examples for shard, note in described if shard.split == split],
            num_bytes=sum(note.example_bytes for shard, note in described if shard.split == split),
        )
        for split in plan.folder.splits
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=plan.growing,
        features=shard_workers.features(plan.folder.classes),
        split_infos=split_infos,
        version=VERSION,
        check_data=False,  # It reads by TensorFlow.
        description="A folder of images, prepared by mnv2_jax.",
        supervised_keys=("image", "label"),
        disable_shuffling=True,
    )
    source = {
        **_folder(plan),
        "images": plan.images,
        "skipped": len(bad),
        "turned": sum(note.turned for note in notes),
        "key": plan.key,
        "repeated": _find_repeated(plan, notes),
        "content": [note.digest for note in notes],
    }
    atomic.write_text(plan.growing / folders.SOURCE_NOTE, json.dumps(source, indent=2) + "\n")
    if bad:
        listed = [one._asdict() for one in bad]
        text = json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
        atomic.write_text(plan.growing / SKIPPED_NOTE, text)
    plan.growing.rename(plan.target)
