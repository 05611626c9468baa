"""The thirty cancers, found by code and by the words of a text."""

import re

import pytest

from crafts.core.errors import DataError
from crafts.data.taxonomy import CANCERS, cancer_of, load_cancers

STUDIES = (
    "BRCA KIRC THCA UCEC LUSC HNSC LUAD BLCA COAD PRAD LIHC CESC KIRP LGG PAAD PCPG READ SARC ESCA "
    "KICH THYM STAD SKCM UVM TGCT OV MESO DLBC CHOL UCS ACC"
).split()


def test_thirty_one_studies_are_thirty_cancers():
    assert len(CANCERS) == 30 == len({cancer.code for cancer in CANCERS})
    assert sorted(STUDIES) == sorted(study for cancer in CANCERS for study in cancer.studies)
    assert cancer_of("COAD") is cancer_of("TCGA-READ") is cancer_of("coadread")


@pytest.mark.parametrize("study", STUDIES)
def test_every_code_finds_its_cancer(study):
    assert study in cancer_of(f"TCGA-{study}").studies


@pytest.mark.parametrize("cancer", CANCERS, ids=lambda cancer: cancer.code)
def test_every_name_finds_its_cancer_in_a_sentence(cancer):
    for name in (cancer.name, *cancer.synonyms):
        assert cancer_of(f"A section of {name.upper()}, grade 2.") is cancer


def test_no_two_cancers_share_a_name():
    names = [re.sub(r"\W+", " ", n).lower() for c in CANCERS for n in (c.name, *c.synonyms)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Papillary thyroid carcinoma with colloid", "THCA"),
        ("prostatic adenocarcinoma, Gleason 4", "PRAD"),
        ("uveal melanoma", "UVM"),
        ("metastatic melanoma of the scalp", "SKCM"),
        ("well differentiated tubules", None),
        ("mesotheliomatous growth", None),
        ("an ov al nucleus", None),
        ("seminoma or astrocytoma", "LGG"),  # the longer name decides
        ("liver cancer or colon cancer", None),  # equally long names disagree
        ("", None),
    ],
)
def test_the_longest_whole_words_decide(text, code):
    found = cancer_of(text)
    assert (found.code if found else None) == code


def test_a_file_adds_and_replaces(tmp_path):
    yaml = tmp_path / "more.yaml"
    yaml.write_text(
        "- {code: osar, name: osteosarcoma, organ: bone, synonyms: [osteogenic sarcoma]}\n"
        "- {code: UVM, name: uveal melanoma, organ: uvea}\n"
    )
    cancers = load_cancers(yaml)
    assert len(cancers) == 31
    assert cancer_of("high-grade osteogenic sarcoma", cancers).code == "OSAR"
    assert cancer_of("UVM", cancers).organ == "uvea" and cancer_of("UVM").organ == "eye"
    table = tmp_path / "more.csv"
    table.write_text("code,name,organ,synonyms\nGIST,stromal tumor,stomach,GI stromal tumor|gist\n")
    assert load_cancers(table)[-1].synonyms == ("GI stromal tumor", "gist")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "- {code: X, name: y}\n", ("row 1", "no text in 'organ'")),
        ("a.yaml", "- {code: X, name: y, organ: z, site: w}\n", ("unknown field 'site'",)),
        ("a.yaml", "- {code: X, name: y, organ: z, synonyms: 3}\n", ("synonyms: 3",)),
        ("a.yaml", "- 7\n", ("row 1", "7")),
        ("a.yaml", "code: X\n", ("a dict",)),
        ("a.yaml", "{", ("no valid YAML",)),
        ("a.csv", "code,name,organ,grade\nX,y,z,3\n", ("row 1", "unknown field 'grade'")),
        ("missing.csv", None, ("missing.csv", "No such file")),
    ],
)
def test_a_wrong_file_is_refused_by_row(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        load_cancers(tmp_path / name)
    for word in (*words, "Correct the file of cancers."):
        assert word in str(error.value)
