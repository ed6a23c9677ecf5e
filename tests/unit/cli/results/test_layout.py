"""File names from attributes: cli/results/layout.py."""

import os
from pathlib import Path

import pytest

from cli.results.layout import MAX_NAME_BYTES, MAX_NAME_LENGTH, folder_of, safe_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Doe^Jane^^Dr.", "Doe Jane Dr"),
        ("山田^太郎", "山田 太郎"),
        ("Mu\u0308ller", "Müller"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", ""),
        ("  ", ""),
        ("-rf *", "rf _"),
        ("~root", "root"),
        (".hidden", "hidden"),
        ('a/b\\c:d|e?f*g<h>i"j', "a_b_c_d_e_f_g_h_i_j"),
        ("a\0b\nc\x1b[2J\u202egpj", "a_b_c_[2J_gpj"),
        ("ends with dots. . .", "ends with dots"),
        ("CON", "CON_"),
        ("nul.txt", "nul.txt_"),
        ("Com1", "Com1_"),
        ("CONTRAST", "CONTRAST"),
        ("\udcff", "_"),
    ],
)
def test_a_name_is_safe_on_any_file_system(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("text", ["x" * 1000, "é" * 1000, "𠀋" * 1000, "a. " * 400])
def test_a_name_is_short_in_characters_and_bytes(text: str, tmp_path: Path) -> None:
    name = safe_name(text)
    assert 0 < len(name) <= MAX_NAME_LENGTH
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name == name.rstrip(". ")
    (tmp_path / name).mkdir()


STUDY, SERIES = (
    {"PatientID": "P7", "PatientName": "Doe^Jane", "StudyDate": "20240229"},
    {"SeriesNumber": "3", "Modality": "CT"},
)


def test_folders_are_patient_then_date_and_study_then_number_and_series() -> None:
    folder = folder_of("1.2", "1.2.3", STUDY | SERIES | {"StudyDescription": "Head", "SeriesDescription": "Axial/thin"})
    patient, study, series = folder.parts
    assert patient == "P7 Doe Jane"
    assert study.startswith("20240229 Head ")
    assert series.startswith("3 CT Axial_thin ")


def test_studies_and_series_with_equal_values_have_separate_folders() -> None:
    folders = [folder_of(study, series, STUDY | SERIES) for study in ("1.2", "1.3") for series in ("1.4", "1.5")]
    assert len({str(folder).lower() for folder in folders}) == 4
    assert len({folder.parent for folder in folders}) == 2
    assert folder_of("1.2", "1.4", STUDY | SERIES) == folders[0]


def test_studies_and_series_without_values_have_folders() -> None:
    patient, study, series = folder_of("1.2", "1.2.3", {"PatientID": "..", "StudyDate": ""}).parts
    assert (patient, study.split()[0], series.split()[0]) == ("no patient", "study", "series")


def test_no_value_escapes_the_folder(tmp_path: Path) -> None:
    for text in ("../..", "/etc", "..\\..", "C:\\", "a/../../../b", "\0/etc"):
        folder = tmp_path / folder_of("1.2", "1.3", dict.fromkeys(STUDY | SERIES, text))
        assert os.path.normpath(folder) == str(folder)
        assert len(folder.relative_to(tmp_path).parts) == 3
