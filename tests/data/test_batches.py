import jax

from cnn.data.batches import named_key


def test_streams_and_seeds_are_apart():
    keys = [
        jax.random.key_data(named_key(seed, name)).tolist()
        for seed in (0, 1)
        for name in ("init", "shuffle", "augment")
    ]
    assert len({tuple(key) for key in keys}) == 6
