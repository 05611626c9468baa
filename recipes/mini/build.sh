#!/usr/bin/env bash
# crafts-mini from the raw sets to the weights in the package, one part after the other.
#
#   recipes/mini/build.sh SETS [WEIGHTS]
#
# SETS holds files.csv (set, file, kind, class, organ, group, label, licence) beside the image folders it names. WEIGHTS is a folder for
# what comes out, by default runs/weights; src/crafts/weights is what the package ships. Everything else goes to runs/.
# About a day on two CPU cores. A step whose output is finished is not made again, and `crafts train` goes on where it was stopped.
set -euo pipefail

SETS=$1 WEIGHTS=${2:-runs/weights}
HERE=recipes/mini
SCORE="python -m crafts.workflows.scorecards"
RELEASE="python -m crafts.workflows.releasing"

once() { [ -e "$1" ] || "${@:2}"; }  # OUTPUT COMMAND...

# Tiles of 256 px: fields, groups and splits by patient; pictures of one tissue count as one; captions from the fields.
once runs/tiles/fields.jsonl python $HERE/collect.py "$SETS" runs/tiles
once runs/tiles/same_tissue.csv python $HERE/same_tissue.py runs/tiles
once runs/tiles/metadata.csv python $HERE/captions.py runs/tiles --pathgen "$SETS/text/pathgen_sample.json"
once runs/shards/manifest.json crafts pack runs/tiles --output runs/shards

# The codec, then a sharper decoder for the same latents. Two CLIPs: one conditions, the other judges.
crafts train $HERE/autoencoder.yaml --output runs/autoencoder
crafts train $HERE/clip.yaml --output runs/clip
crafts train $HERE/decoder.yaml --output runs/decoder
crafts train $HERE/evaluation-clip.yaml --output runs/evaluation-clip

# The denoiser: crops for the detail, then whole tiles. (whole-fields.yaml, the layout first, is under way and not yet in what is shipped.)
once runs/latents/manifest.json crafts encode runs/shards --output runs/latents --model runs/autoencoder/model
crafts train $HERE/denoiser-crops.yaml --output runs/denoiser-crops
crafts train $HERE/denoiser.yaml --output runs/denoiser

# Into the folder of weights; the judges first.
once "$WEIGHTS/classifier/manifest.json" $RELEASE structure runs/tiles --output "$WEIGHTS/classifier" --cpu-seconds 1100 --half
$RELEASE encoder runs/evaluation-clip/model runs/tiles --output "$WEIGHTS/evaluation-clip"
$RELEASE model runs/denoiser/model $HERE/card.md --codec runs/decoder/model --output "$WEIGHTS/mini"
$SCORE codec "$WEIGHTS/mini" runs/tiles --output runs/score-codec
crafts experiment guidance --data runs/shards --output runs/guidance --set base.model="$WEIGHTS/mini"
$SCORE model "$WEIGHTS/mini" runs/tiles runs/score

# Tiles with masks of their nuclei: the segmenter, layouts, and a ControlNet, which also learns windows without any nucleus.
once runs/pairs/metadata.csv python $HERE/collect_masks.py "$SETS" runs/pairs --tiles runs/tiles
once runs/pair-shards/manifest.json crafts pack runs/pairs --output runs/pair-shards
crafts train $HERE/segmenter.yaml --output runs/segmenter
$RELEASE segmenter runs/segmenter/model runs/pairs $HERE/segmenter.md --output "$WEIGHTS/segmenter"
$RELEASE layouts runs/pairs --output "$WEIGHTS/layouts"
crafts train $HERE/control-nuclei.yaml --output runs/control-nuclei-1 --set stage.init_from="$WEIGHTS/mini"
once runs/pair-shards-2/manifest.json python $HERE/empty_pairs.py runs/tiles runs/pairs
once runs/pair-shards-2/manifest.json crafts pack runs/pairs --output runs/pair-shards-2
crafts train $HERE/control-nuclei.yaml --output runs/control-nuclei --set data.folder=runs/pair-shards-2 \
  --set stage.init_from="$WEIGHTS/mini" --set stage.control_from=runs/control-nuclei-1/model --set num_steps=800 \
  --set ema_decay=0.998 --set optim.lr=5e-4 --set optim.warmup_steps=50 --set optim.schedule=linear \
  --set optim.decay_from=0.5 --set optim.final_fraction=0.05
once runs/control-nuclei-2/manifest.json $RELEASE strengthen runs/control-nuclei/model 2.5 runs/control-nuclei-2
crafts train $HERE/control-fluorescence.yaml --output runs/control-fluorescence --set stage.init_from="$WEIGHTS/mini" \
  --set stage.control_from=runs/control-nuclei/model
$SCORE control runs/control-nuclei-2 runs/pairs runs/control-score --model "$WEIGHTS/mini"
$SCORE control runs/control-fluorescence/model runs/pairs runs/glow-score --model "$WEIGHTS/mini" --sets "$SETS"
# A ControlNet is released beside the model in the package: put "$WEIGHTS/mini" there first.
#   $RELEASE control runs/control-nuclei-2 runs/control-score $HERE/control-nuclei.md
#   $RELEASE control runs/control-fluorescence/model runs/glow-score $HERE/control-fluorescence.md
