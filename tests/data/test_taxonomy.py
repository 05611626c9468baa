"""The thirty cancers, found by code and by the words of a text."""

import json
import re

import pytest

from crafts.core.errors import DataError
from crafts.data.taxonomy import (
    CANCERS,
    cancer_category,
    cancer_of,
    category_numbers,
    load_cancers,
    load_categories,
)

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
        ("a.csv", "code;name;organ\nX;y;z;w\n", ("row 1", "more cells than columns")),
        ("a.csv", "code;name;organ\n", ("a.csv", "no rows")),
        ("a.csv", "\n", ("a.csv", "an empty file")),
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


def test_a_table_of_an_office_program_is_read(tmp_path):
    """Semicolons between cells, a byte order mark, lines of Windows."""
    table = tmp_path / "more.csv"
    text = "code;name;organ;synonyms\r\nGIST;stromal tumor;stomach;GI stromal tumor|gist\r\n"
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())
    added = load_cancers(table)[-1]
    assert (added.code, added.organ, added.synonyms) == (
        "GIST", "stomach", ("GI stromal tumor", "gist"),
    )  # fmt: skip


def test_the_categories_of_no_file_are_the_thirty_cancers_with_prompts():
    categories = load_categories()
    assert [category.name for category in categories] == [cancer.code for cancer in CANCERS]
    for category, cancer in zip(categories, CANCERS, strict=True):
        assert category.prompts and all(cancer.name in text for text in category.prompts)
        assert any(cancer.organ in text for text in category.prompts)
        assert not [text for text in category.prompts if "{" in text]
    breast = cancer_category(cancer_of("BRCA")).prompts
    assert "an H&E image of breast invasive carcinoma" in breast


def test_a_label_finds_its_category_by_code_study_name_or_synonym_and_only_whole():
    categories = load_categories()
    labels = [
        "BRCA", "TCGA-COAD", "tcga_read", "Prostate cancer", "LUNG ADENOCARCINOMA",
        "no prostate cancer", "prostate cancer high", "colon fat", "", None, float("nan"), 7,
    ]  # fmt: skip
    numbers = category_numbers(labels, categories)
    names = [categories[n].name if n >= 0 else None for n in numbers]
    assert names == ["BRCA", "COADREAD", "COADREAD", "PRAD", "LUAD"] + [None] * 7
    assert set(numbers[5:]) == {-1}


def test_the_categories_of_a_table_come_after_the_cancers(tmp_path):
    table = tmp_path / "more.csv"
    table.write_text("code;name;organ;synonyms\nOSAR;osteosarcoma;bone;osteogenic sarcoma\n")
    categories = load_categories(table)
    assert len(categories) == 31
    assert category_numbers(["Osteogenic sarcoma", "UVM"], categories) == [30, 29]


def test_the_categories_of_a_file_of_classes_are_its_own(tmp_path):
    file = tmp_path / "classes.json"
    classes = {
        "colon fat": {"prompts": ["fat, H&E", "colon fat"], "tier": "nameable", "held_back": []},
        "colon": {"prompts": ["colon"]},
    }
    file.write_text(json.dumps(classes))
    categories = load_categories(file)
    assert [(c.name, c.prompts) for c in categories] == [
        ("colon fat", ("fat, H&E", "colon fat")), ("colon", ("colon",)),
    ]  # fmt: skip
    assert category_numbers(["Colon fat", "colon", "BRCA"], categories) == [0, 1, -1]
    file.write_text(json.dumps({"胃癌": {"prompts": ["a"]}, "肺癌": {"prompts": ["b"]}}))
    labels = ["胃癌", "肺癌", "", None, "???"]
    assert category_numbers(labels, load_categories(file)) == [0, 1, -1, -1, -1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ("No such file",)),
        ("{", ("Expecting property name",)),
        ("[]", ("a list",)),
        ("{}", ("no classes",)),
        ('{"x": ["text"]}', ("classes.json: x", "prompts None")),
        ('{"x": {"prompts": []}}', ("classes.json: x", "prompts []")),
        ('{"x": {"prompts": "text"}}', ("prompts 'text'",)),
        ('{"x": {"prompts": ["text", " "]}}', ("prompts ['text', ' ']",)),
        ('{"x": {"prompts": [3]}}', ("prompts [3]",)),
    ],
)
def test_a_wrong_file_of_classes_is_refused(tmp_path, text, words):
    file = tmp_path / "classes.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError) as error:
        load_categories(file)
    for word in (*words, "Correct the file of classes."):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "classes.json",
            '{"colon": {"prompts": ["a"]}, "Colon!": {"prompts": ["b"]}}',
            "'Colon!' for colon and for Colon!",
        ),
        (
            "more.csv",
            "code;name;organ;synonyms\nGIST;stromal tumor;stomach;gastric cancer\n",
            "'gastric cancer' for STAD and for GIST",
        ),
    ],
)
def test_a_label_of_two_categories_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        load_categories(tmp_path / name)
    for word in (name, words, "Take the label from one of the two."):
        assert word in str(error.value)
