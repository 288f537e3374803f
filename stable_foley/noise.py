"""Owns noise sources: random numbers that depend only on a key, equal on every machine."""

import numpy as np
import torch

_KEY_BYTE = 24  # offset of the Mersenne twister's words in the state of a CPU generator, 8 bytes each
_N_WORDS = 624


def noise_source(*key: int) -> torch.Generator:
    """Make an independent CPU noise source for each key.

    A seed is not enough: torch uses only its lowest 32 bits, so sources with long keys would share their noise.
    Instead, all words of the generator's Mersenne twister are drawn from the key, as NumPy's `MT19937` draws them.

    Args:
        key: whole numbers, 0 to 2**32 - 1; the last one is not 0, since zeros at the end of a key have no effect.
    """
    words = np.random.SeedSequence(key).generate_state(_N_WORDS, np.uint32)
    words[0] = 2**31  # the words must not all be 0
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    state[_KEY_BYTE : _KEY_BYTE + 8 * _N_WORDS] = torch.from_numpy(words.astype(np.int64)).view(torch.uint8)
    generator.set_state(state)
    return generator
