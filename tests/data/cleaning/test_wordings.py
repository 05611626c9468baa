"""English captions pass, others are told apart; lengths, repeats and the captions of panels."""

from __future__ import annotations

import json

import pytest

from crafts.data.cleaning.wordings import Repeats, foreign_language, split_caption, wording_fault
from crafts.data.config import WordingConfig

FOREIGN = {
    "German": [
        "Die Abbildung zeigt ein mäßig differenziertes Adenokarzinom des Kolons mit Nekrosen.",
        "Man sieht Drüsen, die von einem fibrösen Stroma umgeben sind.",
        "Lymphozyten im Randbereich des Tumors, HE-Färbung.",
        "Das Gewebe ist reich an Plasmazellen und nicht maligne.",
        "Übersicht der Leber mit Zeichen einer Zirrhose.",
    ],
    "French": [
        "Carcinome canalaire infiltrant du sein avec une réaction stromale dense.",
        "Les cellules tumorales sont disposées en travées dans un stroma fibreux.",
        "Coupe de foie montrant une stéatose qui est modérée.",
        "Aspect histologique de la muqueuse du côlon sans dysplasie.",
        "Infiltrat lymphocytaire au contact des glandes, coloration par HES.",
    ],
    "Spanish": [
        "Carcinoma ductal infiltrante de la mama con necrosis y desmoplasia.",
        "Se observan glándulas irregulares en el estroma.",
        "El tejido muestra una inflamación crónica sin atipia.",
        "Corte histológico del hígado que presenta esteatosis.",
        "Las células neoplásicas forman nidos en una matriz fibrosa.",
    ],
    "Italian": [
        "Carcinoma duttale infiltrante della mammella con necrosi.",
        "Le ghiandole sono irregolari e il stroma è fibroso.",
        "Sezione di fegato che mostra una steatosi moderata.",
        "Infiltrato linfocitario alla periferia del tumore.",
        "Il tessuto non presenta segni di atipia nella mucosa.",
    ],
    "Portuguese": [
        "Carcinoma ductal invasivo da mama com necrose.",
        "As glândulas são irregulares e o estroma é fibroso.",
        "Corte de fígado que mostra uma esteatose moderada.",
        "Infiltrado linfocitário na periferia do tumor.",
        "O tecido não apresenta sinais de atipia nas células.",
    ],
    "Dutch": [
        "Invasief ductaal carcinoom van de borst met necrose.",
        "De klieren zijn onregelmatig en het stroma is fibreus.",
        "Coupe van de lever die een matige steatose laat zien.",
        "Lymfocytair infiltraat aan de rand van de tumor.",
        "Het weefsel is niet maligne en wordt omgeven door vet.",
    ],
}
ENGLISH = [
    "Low-power view. Prostatic benign tissue.",
    "Prostate, non-malignant tissue. H&E, overview power.",
    "HE, x400",
    "Lamina propria, muscularis mucosae, in situ component",
    "Carcinoma in situ de novo, per Smith et al.",
    "β-catenin staining of the tumour",
    "Sarcoma",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_captions_and_catchwords_pass(text):
    assert foreign_language(text) == ""


def test_other_languages_are_named():
    found = [
        (language, foreign_language(text)) for language in FOREIGN for text in FOREIGN[language]
    ]
    assert len(found) == 30
    assert sum(wanted == came for wanted, came in found) >= 28
    assert (
        foreign_language("乳腺浸润性导管癌")
        == foreign_language("Рак молочной железы")
        == "another script"
    )
    polish = "Rak przewodowy naciekający gruczołu piersiowego " * 6
    assert foreign_language(polish) == "no English function words"


def test_no_real_caption_is_taken_for_another_language(shared_data):
    rows = json.loads((shared_data / "text/pathgen_sample.json").read_text())
    assert [row["caption"] for row in rows if foreign_language(row["caption"])] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a scar of skin", ""),
        ("scar", "caption of fewer than 3 words"),
        ("", "caption of fewer than 3 words"),
        ("the scar " * 201, "caption of more than 400 words"),
        ("Das ist eine Narbe der Haut", "caption not in English (German)"),
    ],
)
def test_faults_of_captions(text, fault):
    assert wording_fault(text, WordingConfig()) == fault
    assert wording_fault(text, WordingConfig(english=False, min_words=1, max_words=1000)) in (
        "",
        "caption of fewer than 1 words",
    )


def test_repeats_are_counted_without_case_and_marks():
    repeats = Repeats(2)
    taken = [repeats.take(text) for text in ("A scar.", "a  scar", "A SCAR!", "a nerve")]
    assert taken == [True, True, False, True]


@pytest.mark.parametrize(
    ("text", "number", "parts"),
    [
        ("Liver. (A) Fat, H&E. (B) Scar.", 2, ["Liver. Fat, H&E.", "Liver. Scar."]),
        ("(a) Fat; (b) scar; (c) bile", 3, ["Fat.", "scar.", "bile."]),
        ("A. Fat. B. Scar.", 2, ["Fat.", "Scar."]),
        ("A: fat; B: scar", 2, ["fat.", "scar."]),
        ("Liver. (A) Fat. (B) Scar.", 3, ["Liver. (A) Fat. (B) Scar."] * 3),
        ("Vitamin A. deficiency", 2, ["Vitamin A. deficiency"] * 2),
        ("(A) and (B): fat", 1, ["(A) and (B): fat"]),
    ],
)
def test_captions_of_panels(text, number, parts):
    assert split_caption(text, number) == parts
