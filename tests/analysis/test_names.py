from mnv2_jax.analysis.names import axis_name, full_name, short_name, value_name


def test_names():
    assert value_name("projection", "relu6") == "ReLU6"
    assert value_name("expansion", 6.0) == "6"
    assert value_name("model.kind", "") == "not set"
    assert full_name("expansion", 6.0) == "Expansion 6"
    assert full_name("train.learning_rate", 0.1) == "Learning rate 0.1"
    assert full_name("block", "fused") == "fused"


def test_names_of_a_transfer():
    path = "extraction.train.learning_rate"
    assert axis_name(path) == short_name(path) == "Extraction: learning rate"
    assert axis_name("train.learning_rate") == "Learning rate"
    assert full_name(path, 0.1) == "Extraction: learning rate 0.1"
    assert value_name("transfer.phase", "pretraining") == "Pretraining (other classes)"
    assert value_name("transfer.images_per_class", 0) == "all"
    assert value_name("transfer.images_per_class", 10.0) == "10"
    assert value_name("width", 0) == "0"


def test_a_long_name_keeps_both_ends():
    name = value_name("block", "a/very/long/path/to/the/file_of_my_blocks.py:MixedKernels")
    assert len(name) < 40
    assert name.startswith("a/very/long")
    assert name.endswith("blocks.py:MixedKernels")
