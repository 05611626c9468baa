"""Small networks of transformers with random weights, for trainings of minutes."""

from __future__ import annotations

from typing import Any

from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)


def build_classifier(num_classes: int) -> Any:
    """A ResNet of four stages; pictures [B, 3, S, S] -> ``logits`` [B, K]."""
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64, 128],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            num_labels=num_classes,
        )
    )


def build_masked_autoencoder(side: int) -> Any:
    """A ViT-MAE (He et al., CVPR 2022) for pictures of a side in pixels, a multiple of 8."""
    return ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=side,
            patch_size=8,
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=192,
            decoder_hidden_size=64,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=128,
            mask_ratio=0.75,
            norm_pix_loss=True,
        )
    )
