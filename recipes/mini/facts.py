"""What the sets say of a tile: organ, diagnosis, what it shows, how close it is, its class.

``captions.py`` puts these facts into words. Nothing is said that the source does not say or the
size of nuclei does not show: an organ or a diagnosis that a set leaves open stays open here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crafts.captions.prompts import TileFields

UNSORTED = "tissue"  # organ or diagnosis unknown: never a class to be measured
# one lc25000 original under two names (the set ships augmented copies), confirmed by eye
COPIES = {"lungaca220": "lungaca1674", "colonca4271": "colonca3978", "lungn4547": "lungn3960"}
TCGA_SITES = {
    "2Z": "KIRP",
    "DW": "KIRP",
    "F9": "KIRP",
    "55": "LUAD",
    "73": "LUAD",
    "78": "LUAD",
    "A2": "BRCA",
    "G9": "PRAD",
}
# (organ, diagnosis, label)
TCGA = {
    "BLCA": ("bladder", "urothelial carcinoma", "bladder carcinoma"),
    "BRCA": ("breast", "carcinoma", "breast carcinoma"),
    "COAD": ("colon", "adenocarcinoma", "colon adenocarcinoma"),
    "KIRC": ("kidney", "clear cell carcinoma", "kidney carcinoma"),
    "KIRP": ("kidney", "papillary renal cell carcinoma", "kidney carcinoma"),
    "LUAD": ("lung", "adenocarcinoma", "lung adenocarcinoma"),
    "LUSC": ("lung", "squamous cell carcinoma", "lung squamous carcinoma"),
    "PRAD": ("prostate", "adenocarcinoma", "prostate cancer high"),
    "STAD": ("stomach", "adenocarcinoma", "stomach carcinoma"),
    "LGG": ("brain", "lower-grade glioma", "brain lower-grade glioma"),
    "GBM": ("brain", "glioblastoma", "brain glioblastoma"),
    "PAAD": ("pancreas", "adenocarcinoma", "pancreas carcinoma"),
    "THCA": ("thyroid", "carcinoma", "thyroid carcinoma"),
}
LC25000 = {
    "colon_aca": TCGA["COAD"],
    "colon_n": ("colon", "normal", "colon normal"),
    "lung_aca": TCGA["LUAD"],
    "lung_n": ("lung", "normal", "lung normal"),
    "lung_scc": TCGA["LUSC"],
}
BREAKHIS = {
    "A": "adenosis",
    "F": "fibroadenoma",
    "TA": "tubular adenoma",
    "PT": "phyllodes tumour",
    "DC": "ductal carcinoma",
    "LC": "lobular carcinoma",
    "MC": "mucinous carcinoma",
    "PC": "papillary carcinoma",
}
CRC = {
    "ADI": ("", "adipose tissue", "colon fat"),
    "LYM": ("", "lymphoid tissue", "colon lymphoid"),
    "MUC": ("", "mucus", "colon mucus"),
    "MUS": ("", "smooth muscle", "colon muscle"),
    "NORM": ("normal", "mucosa", "colon normal"),
    "STR": ("", "tumour stroma", "colon stroma"),
    "TUM": ("adenocarcinoma", "epithelium", "colon adenocarcinoma"),
}
BONE = {
    "Non-Tumor": ("normal", "bone without tumour"),
    "Viable": ("osteosarcoma", "bone osteosarcoma"),
    "Non-Viable-Tumor": ("necrotic osteosarcoma", "bone necrotic osteosarcoma"),
}
# (set, class) -> organ, diagnosis, label; class "" = every other class of the set
NAMED = {
    ("bracs_rois_NC", "ADH"): ("breast", "atypical ductal hyperplasia", "breast benign"),
    ("bracs_rois_NC", "UDH"): ("breast", "usual ductal hyperplasia", "breast benign"),
    ("bracs_rois_NC", "FEA"): ("breast", "flat epithelial atypia", "breast benign"),
    ("bracs_rois_NC", "DCIS"): ("breast", "ductal carcinoma in situ", "breast carcinoma"),
    ("bracs_rois_NC", "BENIGN"): ("breast", "benign", "breast benign"),
    ("brecahad", ""): ("breast", "carcinoma", "breast carcinoma"),
    ("her2st_NC", ""): ("breast", "HER2-positive carcinoma", "breast carcinoma"),
    ("ucsb_breast_NC", "benign"): ("breast", "benign", "breast benign"),
    ("ucsb_breast_NC", "malignant"): ("breast", "carcinoma", "breast carcinoma"),
    ("tnbc50", ""): ("breast", "triple-negative carcinoma", "breast carcinoma"),
    ("camelyon17_5centres", ""): ("lymph node", "", "lymph node"),
    ("camelyon_nodes", ""): ("lymph node", "metastatic carcinoma", "lymph node metastasis"),
    ("fl_reactive_NC", "follicular lymphoma"): (
        "lymph node",
        "follicular lymphoma",
        "lymphoma follicular",
    ),
    ("fl_reactive_NC", "reactive lymphoid tissue"): (
        "lymph node",
        "reactive hyperplasia",
        "lymph node reactive",
    ),
    ("lymphoma_iicbu_NC", "CLL"): ("lymph node", "chronic lymphocytic leukaemia", "lymphoma CLL"),
    ("lymphoma_iicbu_NC", "FL"): ("lymph node", "follicular lymphoma", "lymphoma follicular"),
    ("lymphoma_iicbu_NC", "MCL"): ("lymph node", "mantle cell lymphoma", "lymphoma mantle cell"),
    ("consep_NC", ""): ("colon", "adenocarcinoma", "colon tumour field"),
    ("gleason11_NC", ""): ("prostate", "", "prostate tissue"),
    ("gastric_seed_NC", ""): ("stomach", "", "stomach tissue"),
    ("endometrium_NC", "endometrioid adenocarcinoma"): (
        "endometrium",
        "adenocarcinoma",
        "endometrium carcinoma",
    ),
    ("endometrium_NC", "endometrial hyperplasia"): (
        "endometrium",
        "hyperplasia",
        "endometrium benign",
    ),
    ("endometrium_NC", "endometrial polyp"): ("endometrium", "polyp", "endometrium benign"),
    ("endometrium_NC", "normal endometrium"): ("endometrium", "normal", "endometrium benign"),
    ("glioma_NC", "GBM"): TCGA["GBM"],
    ("glioma_NC", "LGG"): TCGA["LGG"],
    ("ocdc", ""): ("oral mucosa", "squamous cell carcinoma", "oral carcinoma medium"),
    ("tcga_tiles", "COAD/READ"): TCGA["COAD"],
    ("wsi_more", ""): TCGA["KIRP"],
}
# organ as the set calls it -> as captions do
ORGANS = {
    "brain (cerebrum)": "brain", "cerebrum": "brain", "urinary bladder": "bladder",
    "stomach, cardia": "stomach", "stomach, pylorus": "stomach", "femur": "bone marrow",
}  # fmt: skip
# classes that unite several diagnoses -> the one name they share in prompts
UNITED = {
    "breast carcinoma": "carcinoma",
    "breast benign": "benign",
    "kidney carcinoma": "renal cell carcinoma",
}
WIKIMEDIA = {
    "Bronchial goblet cell hyperplasia": "goblet cell hyperplasia",
    "Charcot-Leyden crystal (Asthma)": "asthma",
    "Emphysema (low magnification)": "emphysema",
    "Lung adenocarcinoma (acinar pattern)": "adenocarcinoma",
    "Squamous cell carcinoma of lung": "squamous cell carcinoma",
    "Usual interstitial pneumonia (honeycomb fibrosis)": "honeycomb fibrosis",
}


def group_of(row: Mapping[str, Any]) -> str:
    """Patient as the file name of the set tells it; else what the collection already holds."""
    name, group = row["set"], row["patient"].removeprefix(f"{row['set']}:")
    if name == "breakhis400":  # SOB_B_F-14-21998CD-400-005: case 21998, blocks C and D
        return f"{name}:{group.split('-')[2].rstrip('ABCDEFG')}"
    if name == "ebhi_polyp":  # GT2012237-1-400-005: case GT2012237
        return f"{name}:{group.split('-')[0]}"
    if name == "breakhis_more_NC":  # 14-14134E: a case of BreakHis
        return f"breakhis400:{group.rstrip('ABCDEFG')}"
    if name == "lc25000":
        return f"{name}:{COPIES.get(group, group)}"
    return str(row["patient"])


def facts_of(row: Mapping[str, Any]) -> tuple[TileFields, str]:
    """What the source says of a tile, and its stable class name."""
    name, kind, power = row["set"], row["class"], power_of(row)
    if name == "prostate_gleason_NC":
        if kind == "benign/stroma":
            features = ("glands",) if row["note"] == "gland-rich" else ()
            return TileFields("prostate", "benign", power=power, features=features), (
                "prostate benign"
            )
        return TileFields("prostate", "adenocarcinoma", grade=kind, power=power), "prostate cancer"
    if name == "oral_oscc":
        normal = kind == "Normal"
        diagnosis = "normal" if normal else "squamous cell carcinoma"
        label = f"oral {'normal' if normal else 'carcinoma'} {power}"
        return TileFields("oral mucosa", diagnosis, power=power), label
    if name == "crc_he7k":
        diagnosis, tissue, label = CRC[kind]
        cells = {"lymphocyte": "many"} if kind == "LYM" else {}
        return TileFields("colon", diagnosis, tissue=tissue, power=power, cells=cells), label
    if name == "osteosarcoma_ut":
        diagnosis, label = BONE[kind]
        return TileFields("bone", diagnosis, power=power), label
    if name in ("breakhis400", "breakhis_more_NC"):
        diagnosis = BREAKHIS[Path(row["source"]).stem.split("-")[0].split("_")[2]]
        label = "breast benign" if kind == "benign" else "breast carcinoma"
        return TileFields("breast", diagnosis, power=power), label
    named = NAMED.get((name, kind)) or NAMED.get((name, ""))
    if named is not None:
        organ, diagnosis, label = named
        return TileFields(organ, diagnosis, power=power), label
    return facts_of_mixed(row, power)


def facts_of_mixed(row: Mapping[str, Any], power: str) -> tuple[TileFields, str]:
    """The sets whose organ or diagnosis differs from file to file."""
    name, kind = row["set"], row["class"]
    if name == "lc25000":
        organ, diagnosis, label = LC25000[kind]
        features = ("crypts",) if kind == "colon_n" and row["view"] == "whole" else ()
        return TileFields(organ, diagnosis, power=power, features=features), label
    if name in ("monuseg_NC", "monusac_NC", "monuseg_test_NC"):
        organ, diagnosis, label = TCGA[kind or TCGA_SITES[row["patient"].split("-")[1]]]
        return TileFields(organ, diagnosis, power=power), label
    if name == "tcga_tiles" and kind in TCGA:
        organ, diagnosis, label = TCGA[kind]
        return TileFields(organ, diagnosis, power=power), label
    if name == "nuinsseg":
        species, _, organ = kind.partition(" ")
        organ = ORGANS.get(organ, organ)
        if organ == "melanoma":
            return TileFields("skin", "melanoma", power=power), "skin melanoma"
        mouse = ("mouse tissue",) if species == "mouse" else ()
        return TileFields(organ, power=power, features=mouse), f"{organ} tissue"
    if name == "wikimedia_lung":
        diagnosis = WIKIMEDIA[kind]
        label = {
            "adenocarcinoma": "lung adenocarcinoma",
            "squamous cell carcinoma": "lung squamous carcinoma",
        }
        return TileFields("lung", diagnosis, power=power), label.get(diagnosis, f"lung {diagnosis}")
    if name == "mopadi_tiles" and "CHOL" in kind:
        return TileFields("bile duct", "cholangiocarcinoma", power=power), "bile duct carcinoma"
    if name == "mopadi_tiles":
        organ, diagnosis, label = LC25000["colon_n" if "NORM" in row["source"] else "colon_aca"]
        return TileFields(organ, diagnosis, power=power), label
    return facts_of_colon(row, power)


def facts_of_colon(row: Mapping[str, Any], power: str) -> tuple[TileFields, str]:
    """The colon sets without a diagnosis, and the tiles of which next to nothing is known."""
    name = row["set"]
    if name == "ebhi_polyp":
        return TileFields("colon", "polyp", power=power, features=("gland lumens",)), "colon polyp"
    if name == "glas_NC":
        share = row["glands"]
        said = ("closely packed glands",) if share > 0.6 else ("glands",) if share > 0.2 else ()
        return TileFields("colon", power=power, features=said), "colon glands"
    if name == "lizard128_NC" or (name == "pannuke_panels_NC" and row["organ"] == "colon"):
        return TileFields("colon", power=power), "colon tissue"
    pen = ("pen mark",) if "pen" in Path(row["source"]).stem.split("-") else ()
    lung = name == "histolab_tiles" and "lung" in row["source"]
    return TileFields("lung" if lung else "", power=power, features=pen), UNSORTED


def power_of(row: Mapping[str, Any]) -> str:
    """Low, medium or high power by microns per pixel of the tile; "" where nothing tells."""
    name, scale = row["set"], row["scale"]
    if scale is not None:
        return "low" if scale >= 0.9 else "medium" if scale >= 0.4 else "high"
    if name == "oral_oscc":
        return {"100x": "low", "400x": "high"}[row["note"]]
    if name in ("breakhis400", "pannuke_NC"):
        return "high"
    if name == "ebhi_polyp":  # the file names say 400
        return "high" if row["view"] == "quarter" else "medium"
    if row["class"].startswith("Emphysema"):
        return "low"
    return ""
