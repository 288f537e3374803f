"""Owns noise sources: random numbers that depend on a key only, on every machine."""

import numpy as np
import torch

_KEY_BYTE = 24  # where the words of its twister stand in the state of a CPU generator, each in 8 bytes
_N_WORDS = 624


def noise_source(*key: int) -> torch.Generator:
    """Make a CPU noise source of its own for each key.

    A seed does not do: torch looks at its lowest 32 bits only, so sources of long keys would share their noise. All
    words of the generator's Mersenne twister are drawn from the key instead, as NumPy's `MT19937` draws them.

    Args:
        key: whole numbers, 0 to 2**32 - 1; the last one is not 0, since zeros at the end of a key do not count.
    """
    words = np.random.SeedSequence(key).generate_state(_N_WORDS, np.uint32)
    words[0] = 2**31  # so that the words are never all 0
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    state[_KEY_BYTE : _KEY_BYTE + 8 * _N_WORDS] = torch.from_numpy(words.astype(np.int64)).view(torch.uint8)
    generator.set_state(state)
    return generator
