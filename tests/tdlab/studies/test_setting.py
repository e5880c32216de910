"""A notebook shows every number of a setting, folded."""

from dataclasses import fields

import pytest
from bs4 import BeautifulSoup

from tdlab.studies import cot, icl, kernels, multilayer


@pytest.mark.parametrize("study", [icl, cot, kernels, multilayer])
def test_a_notebook_shows_every_field_of_a_setting_with_its_value(study):
    setting = study.setting("quick")
    soup = BeautifulSoup(setting._repr_html_(), "html.parser")
    (folded,) = soup.find_all("details")
    assert f"{len(fields(setting))} numbers" in folded.get_text()
    rows = [tuple(cell.text for cell in row.find_all(["th", "td"])) for row in folded("tr")]
    assert rows == [(each.name, repr(getattr(setting, each.name))) for each in fields(setting)]
    assert len(rows) > 10
