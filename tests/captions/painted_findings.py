"""What painted reports say of tissue: organs, diagnoses and findings with their truth.

The wording was written for this file and not taken from the lists of the scrubber.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plant:
    """An identifier or instruction at a known place of a report."""

    kind: str
    start: int
    end: int
    text: str


@dataclass
class Painted:
    """A report, what it says (field -> values that count as right) and what was planted in it."""

    report_id: str
    text: str = ""
    truth: dict[str, str] = field(default_factory=dict)
    plants: list[Plant] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.text += text

    def plant(self, kind: str, text: str) -> None:
        self.plants.append(Plant(kind, len(self.text), len(self.text) + len(text), text))
        self.text += text

    def finding(self, text: str, **truth: str) -> None:
        """Say something whose every word is pathology, and remember it."""
        self.terms.append(text)
        self.truth.update(truth)
        self.text += text


BENIGN = ("oncocytoma", "tubulovillous adenoma")

# organ -> paired or not; procedures and histologies: canonical -> ways to write it; grade system
ORGANS: dict[str, dict] = {
    "breast": {
        "paired": True,
        "procedures": {
            "partial mastectomy": ["partial mastectomy"],
            "modified radical mastectomy": ["modified radical mastectomy"],
            "lumpectomy": ["lumpectomy", "wide local excision"],
            "core biopsy": ["core needle biopsy", "needle core biopsy"],
        },
        "histologies": {
            "invasive ductal carcinoma": [
                "Invasive ductal carcinoma",
                "Infiltrating ductal carcinoma",
                "Carcinoma, infiltrating ductal",
                "invasive duct carcinoma",
            ],
            "invasive lobular carcinoma": [
                "Invasive lobular carcinoma",
                "Infiltrating lobular carcinoma",
            ],
            "mucinous carcinoma": ["Mucinous carcinoma"],
            "metaplastic carcinoma": ["Metaplastic carcinoma"],
            "invasive micropapillary carcinoma": ["Invasive micropapillary carcinoma"],
        },
        "grade": "nottingham",
    },
    "prostate": {
        "paired": False,
        "procedures": {
            "prostatectomy": ["radical prostatectomy"],
            "transurethral resection": ["transurethral resection"],
            "core biopsy": ["needle core biopsies"],
        },
        "histologies": {
            "acinar adenocarcinoma": ["Acinar adenocarcinoma", "adenocarcinoma, acinar type"],
            "ductal adenocarcinoma": ["Ductal adenocarcinoma"],
        },
        "grade": "gleason",
    },
    "kidney": {
        "paired": True,
        "procedures": {
            "nephrectomy": ["radical nephrectomy"],
            "partial nephrectomy": ["partial nephrectomy"],
        },
        "histologies": {
            "clear cell renal cell carcinoma": [
                "Clear cell renal cell carcinoma",
                "Renal cell carcinoma, clear cell type",
            ],
            "papillary renal cell carcinoma": ["Papillary renal cell carcinoma"],
            "chromophobe renal cell carcinoma": ["Chromophobe renal cell carcinoma"],
            "oncocytoma": ["Oncocytoma"],
        },
        "grade": "isup",
    },
    "lung": {
        "paired": True,
        "procedures": {"lobectomy": ["lobectomy"], "wedge resection": ["wedge resection"]},
        "histologies": {
            "adenocarcinoma": ["Adenocarcinoma"],
            "squamous cell carcinoma": ["Squamous cell carcinoma"],
            "large cell neuroendocrine carcinoma": ["Large cell neuroendocrine carcinoma"],
            "lepidic adenocarcinoma": ["Adenocarcinoma, lepidic"],
        },
        "grade": "differentiation",
    },
    "colon": {
        "paired": False,
        "procedures": {
            "hemicolectomy": ["right hemicolectomy", "left hemicolectomy"],
            "polypectomy": ["polypectomy"],
        },
        "histologies": {
            "adenocarcinoma": ["Adenocarcinoma"],
            "mucinous adenocarcinoma": ["Mucinous adenocarcinoma"],
            "signet ring cell carcinoma": ["Signet ring cell carcinoma"],
            "tubulovillous adenoma": ["Tubulovillous adenoma"],
        },
        "grade": "differentiation",
    },
    "thyroid": {
        "paired": False,
        "procedures": {"thyroidectomy": ["total thyroidectomy", "thyroidectomy"]},
        "histologies": {
            "papillary carcinoma": ["Papillary thyroid carcinoma", "Papillary carcinoma"],
            "follicular carcinoma": ["Follicular carcinoma"],
            "anaplastic carcinoma": ["Anaplastic thyroid carcinoma"],
        },
        "grade": "",
    },
    "skin": {
        "paired": False,
        "procedures": {"punch biopsy": ["punch biopsy"], "shave biopsy": ["shave biopsy"]},
        "histologies": {
            "basal cell carcinoma": ["Basal cell carcinoma"],
            "malignant melanoma": ["Malignant melanoma"],
            "squamous cell carcinoma in situ": ["Squamous cell carcinoma in situ"],
        },
        "grade": "",
    },
    "brain": {
        "paired": True,
        "procedures": {"craniotomy": ["craniotomy"], "biopsy": ["stereotactic biopsy"]},
        "histologies": {
            "glioblastoma": ["Glioblastoma"],
            "oligodendroglioma": ["Oligodendroglioma"],
            "pilocytic astrocytoma": ["Pilocytic astrocytoma"],
        },
        "grade": "",
    },
    "uterus": {
        "paired": False,
        "procedures": {"hysterectomy": ["total abdominal hysterectomy", "hysterectomy"]},
        "histologies": {
            "endometrioid adenocarcinoma": ["Endometrioid adenocarcinoma"],
            "serous carcinoma": ["Serous carcinoma"],
            "leiomyosarcoma": ["Leiomyosarcoma"],
            "carcinosarcoma": ["Carcinosarcoma"],
        },
        "grade": "figo",
    },
    "bladder": {
        "paired": False,
        "procedures": {
            "transurethral resection": ["transurethral resection", "TURBT"],
            "cystectomy": ["radical cystectomy"],
        },
        "histologies": {
            "papillary urothelial carcinoma": ["Papillary urothelial carcinoma"],
            "invasive urothelial carcinoma": ["Invasive urothelial carcinoma"],
        },
        "grade": "high-low",
    },
}

# other diagnoses that are not this report's: a question, a history, a differential, a denial
DECOYS_BEFORE = (
    "Clinical history: rule out lymphoma.",
    "Clinical information: history of melanoma.",
    "Preoperative diagnosis: sarcoma?",
    "CLINICAL DIAGNOSIS: Suspicious for osteosarcoma.",
)
DECOYS_AFTER = (
    "The differential diagnosis included angiosarcoma.",
    "There is no evidence of lymphoma.",
    "Sarcoma was ruled out by immunohistochemistry.",
    "Negative for melanoma, lymphoma and sarcoma.",
    "No definite features of mesothelioma are seen.",
    "Mesothelioma is excluded.",
)

MICROSCOPY = (
    "The tumor grows in solid nests and trabeculae with a desmoplastic stroma.",
    "Sections show atypical glands with hyperchromatic nuclei and prominent nucleoli.",
    "The neoplastic cells have abundant eosinophilic cytoplasm and vesicular chromatin.",
    "There is a patchy lymphoplasmacytic infiltrate at the invasive front.",
    "Background parenchyma shows fibrocystic changes and apocrine metaplasia.",
    "Foci of hemorrhage, hemosiderin-laden macrophages and cholesterol clefts are seen.",
    "Scattered psammomatous calcifications and multinucleated giant cells are noted.",
    "The cut surface is tan-brown with a gray-white, firm nodule.",
    "Mitotic figures number 12 per 10 high power fields.",
    "Adjacent tissue displays chronic inflammation, squamous metaplasia and fibrosis.",
    "Immunostains for CK7, TTF-1 and p63 were performed.",
    "Cells of Paget disease are not seen in the epidermis.",
    "Pools of extracellular mucin dissect the muscularis propria.",
    "Perivascular hyalinization and reactive gliosis surround the lesion.",
)


def say_diagnosis(report: Painted, rng: random.Random, organ: str) -> None:
    facts = ORGANS[organ]
    procedure = rng.choice(sorted(facts["procedures"]))
    way = rng.choice(facts["procedures"][procedure])
    histology = rng.choice(sorted(facts["histologies"]))
    words = rng.choice(facts["histologies"][histology])
    side = rng.choice(["left", "right"]) if facts["paired"] else ""
    sided = f", {side}" if side else ""
    report.say(rng.choice(["FINAL DIAGNOSIS:\n", "DIAGNOSIS:\n", "Final pathologic diagnosis:\n"]))
    report.finding(f"{organ.capitalize()}{sided}, {way}:", site=organ, procedure=procedure)
    side = side or (way.split()[0] if "hemicolectomy" in way else "")
    if side:
        report.truth["laterality"] = side
    report.say("\n" + rng.choice(["", "- ", "1. "]))
    field_ = "in_situ" if histology.endswith("in situ") else "histology"
    grade, value = _grade(rng, facts["grade"], histology)
    report.finding(words + grade + ".", **{field_: histology})
    report.truth["diagnosis"] = histology
    if value:
        report.truth["grade"] = value
    report.say("\n")


def _grade(rng: random.Random, system: str, histology: str) -> tuple[str, str]:
    if histology in BENIGN or not system:
        return "", ""
    if system == "gleason":
        a, b = rng.choice([(3, 3), (3, 4), (4, 3), (4, 4), (4, 5)])
        ways = [
            f", Gleason score {a}+{b}={a + b}",
            f", Gleason grade {a} + {b} = {a + b}",
            f" (Gleason {a}+{b})",
        ]
        return rng.choice(ways), f"Gleason {a}+{b}={a + b}"
    if system == "differentiation":
        value = rng.choice(["well", "moderately", "poorly"]) + " differentiated"
        return f", {value}", value
    if system == "high-low":
        value = rng.choice(["high", "low"])
        return rng.choice([f", {value} grade", f", {value}-grade"]), f"{value} grade"
    number = rng.randint(1, 3)
    roman = "I" * number
    shown = rng.choice([str(number), roman])
    if system == "nottingham":
        return rng.choice(
            [
                f", Nottingham grade {shown}",
                f", Nottingham histologic grade: {number}",
                f" (SBR grade {shown})",
            ]
        ), f"Nottingham grade {number}"
    label = {"isup": "ISUP", "figo": "FIGO"}[system]
    return f", {label} grade {shown}", f"{label} grade {number}"


def say_size(report: Painted, rng: random.Random) -> None:
    a = round(rng.uniform(0.4, 9.0), 1)
    b, c = (round(a * rng.uniform(0.4, 1.0), 1) for _ in range(2))
    way = rng.choice(
        [
            f"Tumor size: {a} x {b} x {c} cm",
            f"The tumor measures {a} cm in greatest dimension.",
            f"It forms a {a} x {b} cm mass.",
            f"A {a} x {b} x {c} cm tumor is 0.3 cm from the margin.",
            f"Specimen 12 x 9 x 4 cm with a tumor of {a} cm.",
            f"Greatest dimension of tumour: {a} cm.",
            f"Tumor size: {a * 10:.0f} mm",
        ]
    )
    report.finding(way, size=f"{a:.3g} cm")


def say_margins(report: Painted, rng: random.Random) -> None:
    malignant = (
        report.truth["diagnosis"].endswith(("oma", "carcinoma"))
        and report.truth["diagnosis"] not in BENIGN
    )
    ways = [
        ("All resection margins are negative for tumor.", "negative"),
        ("Margins: Negative.", "negative"),
        ("Surgical margins are free of carcinoma.", "negative"),
        ("Margins uninvolved by neoplasm.", "negative"),
        ("No tumor is seen at the resection margins.", "negative"),
        ("Margins: clear", "negative"),
        ("Carcinoma extends to the inked resection margin.", "positive"),
        ("Tumor is 1 cm from the nearest margin, all margins free.", "negative"),
        ("The deep margin is positive for tumor.", "positive"),
        ("Tumor is present at the inked margin.", "positive"),
        ("Margins: involved by carcinoma.", "positive"),
        ("The closest margin is close (0.5 mm).", "close"),
    ]
    # nobody writes of carcinoma at the margin of an adenoma
    way, value = rng.choice([one for one in ways if malignant or "arcinoma" not in one[0]])
    report.finding(way, margins=value)


def say_nodes(report: Painted, rng: random.Random) -> None:
    total = rng.randint(1, 24)
    some = rng.choice([0, 0, rng.randint(0, total)])
    way = rng.choice(
        [
            f"{total} lymph nodes examined, {some} with metastasis ({some}/{total}).",
            f"Lymph nodes ({some} of {total}).",
            f"Regional nodes {some}/{total}.",
            f"Lymph nodes: {some}/{total} positive.",
            f"Metastatic tumor involves {some} of {total} lymph nodes.",
            f"{some} of {total} regional lymph nodes contain metastasis.",
            f"Lymph nodes, {'no metastasis' if some == 0 else 'metastasis present'} "
            f"({some}/{total}).",
        ]
    )
    report.finding(way, nodes=f"{some}/{total}")


def say_lvi(report: Painted, rng: random.Random) -> None:
    _present(
        report,
        rng,
        "lymphovascular_invasion",
        ["lymphovascular invasion", "angiolymphatic invasion", "vascular invasion"],
    )


def say_pni(report: Painted, rng: random.Random) -> None:
    _present(report, rng, "perineural_invasion", ["perineural invasion"])


def say_necrosis(report: Painted, rng: random.Random) -> None:
    _present(report, rng, "necrosis", ["necrosis", "tumor necrosis"])


def _present(report: Painted, rng: random.Random, name: str, words: list[str]) -> None:
    word = rng.choice(words)
    if rng.random() < 0.5:
        way = rng.choice(
            [
                f"{word.capitalize()} is present.",
                f"{word.capitalize()}: Present.",
                f"There is focal {word}.",
                f"Positive for {word}.",
                f"Extensive {word} is seen.",
                f"{word.capitalize()} is identified.",
            ]
        )
        report.finding(way, **{name: "present"})
        return
    way = rng.choice(
        [
            f"No {word} is identified.",
            f"{word.capitalize()}: Not identified.",
            f"{word.capitalize()} is absent.",
            f"There is no evidence of {word}.",
            f"No definite {word}.",
            f"{word.capitalize()}: none",
            f"{word.capitalize()} - absent.",
            f"Neither {word} nor calcification is seen.",
            f"{word.capitalize()} cannot be identified.",
            f"Negative for {word}.",
            f"{word.capitalize()} is not seen.",
            f"The lesion is without {word}.",
        ]
    )
    report.finding(way, **{name: "absent"})


def say_tils(report: Painted, rng: random.Random) -> None:
    way, value = rng.choice(
        [
            ("Tumor-infiltrating lymphocytes are brisk.", "high"),
            ("Tumor infiltrating lymphocytes: sparse.", "low"),
            ("A dense lymphocytic infiltrate is seen.", "high"),
            ("There is a mild lymphocytic infiltrate.", "low"),
            ("Stromal TILs: 60%.", "high"),
            ("Moderate lymphocytic response.", "moderate"),
        ]
    )
    report.finding(way, tils=value)


def say_stage(report: Painted, rng: random.Random) -> None:
    t, n, m = (
        rng.choice(["1a", "1c", "2", "3", "4b", "is"]),
        rng.choice(["0", "1", "1a", "2", "X"]),
        rng.choice(["X", "0", ""]),
    )
    ways = [
        f"Pathologic stage: pT{t} pN{n}" + (f" pM{m}" if m else ""),
        f"pT{t}N{n}" + (f"M{m}" if m else ""),
        f"AJCC stage: pT{t}, pN{n}" + (f", M{m}" if m else "") + ".",
    ]
    report.finding(rng.choice(ways), t_stage=f"T{t}", n_stage=f"N{n}")
    if m:
        report.truth["m_stage"] = f"M{m}"


def say_receptors(report: Painted, rng: random.Random) -> None:
    er, pr, her2 = (rng.choice(["positive", "negative"]) for _ in range(3))
    sign = {"positive": "+", "negative": "-"}
    percent = {"positive": "90%", "negative": "0%"}
    way = rng.choice(
        [
            f"Estrogen receptor: {er.capitalize()}. Progesterone receptor: {pr.capitalize()}. "
            f"HER2: {her2.capitalize()}.",
            f"ER {er} ({percent[er]}), PR {pr} ({percent[pr]}), HER-2/neu {her2}.",
            f"ER{sign[er]}, PR{sign[pr]}, HER2{sign[her2]}.",
            f"The tumor cells are {er} for estrogen receptors, {pr} for progesterone receptors and "
            f"{her2} for HER2.",
        ]
    )
    report.finding(way, er=er, pr=pr, her2=her2)


def say_ki67(report: Painted, rng: random.Random) -> None:
    number = rng.randint(1, 95)
    report.finding(
        rng.choice(
            [
                f"Ki-67: {number}%.",
                f"Ki67 proliferation index is {number}%.",
                f"MIB-1 labeling index: approximately {number} %.",
            ]
        ),
        ki67=f"{number}%",
    )


def say_in_situ(report: Painted, rng: random.Random) -> None:
    if report.truth.get("histology", "").startswith("invasive"):
        way, value = rng.choice(
            [
                ("Ductal carcinoma in situ, solid and comedo type, is present.", "present"),
                ("DCIS is present outside of the invasive tumor.", "present"),
                ("No ductal carcinoma in situ is seen.", "absent"),
                ("Ductal carcinoma in situ is absent.", "absent"),
            ]
        )
        report.finding(way, in_situ=value)
