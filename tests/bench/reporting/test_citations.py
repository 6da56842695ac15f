"""BibTeX of tables: each paper once, no field that the project does not hold, and a comment where there is none."""

import re
import tomllib
from pathlib import Path

import pytest

import bench
from bench import registry
from bench.data.cards.catalogue import catalogue
from bench.reporting.citations import AUTHOR, TITLE, YEAR, bibliography

ROOT = Path(__file__).parents[3]


def entries(text):
    found = re.findall(r"^@misc\{([^,]+),\n(.*?)\n\}$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count("\n@")
    return {key: dict(re.findall(r"^  (\w+) = \{(.*)\},?$", fields, re.MULTILINE)) for key, fields in found}


@pytest.fixture
def cited(make_record):
    def make(*methods, edition="bgl@raw12k"):
        return bibliography([make_record(name, edition=edition) for name in methods], catalogue(None))

    return make


def test_a_method_and_a_data_set_of_one_paper_are_one_entry(make_record):
    records = [make_record("pca", edition="hdfs@full"), make_record("deeplog", edition="bgl@full")]
    found = entries(bibliography(records, catalogue(None)))
    assert set(found) == {"xu2009detecting", "oliner2007what", "du2017deeplog", "bench"}
    assert found["xu2009detecting"] == {
        "author": "W. Xu and L. Huang and A. Fox and D. Patterson and M. Jordan",
        "title": "{Detecting Large-Scale System Problems by Mining Console Logs}",
        "howpublished": "SOSP 2009",
        "year": "2009",
        "note": "used here: data hdfs@full; method pca",
    }
    assert found["du2017deeplog"]["author"] == "Du and Li and Zheng and Srikumar"


def test_every_field_stands_in_a_card_or_the_source_of_a_method(make_record):
    cards = catalogue(None).cards
    editions = sorted({card.key for card in cards})
    records = [make_record(name, edition=editions[i % len(editions)]) for i, name in enumerate(registry.available())]
    records += [make_record("pca", edition=edition) for edition in editions]
    text = bibliography(records, catalogue(None))
    paths = [*ROOT.glob("methods/*.py"), ROOT / "results" / "published.toml"]
    known = " ".join([*(card.citation for card in cards), *(" ".join(p.read_text().split()) for p in paths)])
    found = entries(text)
    assert len(found) > 20
    for key, fields in found.items():
        if key != "bench":
            assert fields["title"].strip("{}").replace("\\", "") in known
            assert fields.get("year", "") in known
            for name in fields["author"].split(" and "):
                assert name.replace("others", "et al.") in known
    for name in registry.available():
        assert re.search(rf"method {name}\b", text), name


def test_others_and_unknown_fields_stay_so(cited):
    found = entries(cited("plelog", "mlad", "ngram"))
    assert found["forrest1996n"]["howpublished"] == "S\\&P 1996"
    assert found["yang2021plelog"]["author"] == "Yang and others"
    assert found["wangtowards"] == {
        "author": "Wang and others",
        "title": "{Towards Multi-System Log Anomaly Detection}",
        "note": "used here: method mlad",
    }


def test_what_names_no_paper_is_one_comment(cited):
    text = cited("random", "length", "gone", edition="bgl@simulated")
    assert set(entries(text)) == {"bench"}
    assert "% data bgl@simulated: no paper is named; simulated by bench; no real system" in text
    assert "% method random, method length: no paper is named; The trivial detectors" in text
    assert "% method gone: no paper is named; its source is not here" in text
    assert "% data nowhere@x: its card is not here" in cited("random", edition="nowhere@x")
    assert "cite the ISSRE 2023 paper" in cited("random")


def test_the_tool_is_cited_as_its_file_says():
    said = (ROOT / "CITATION.cff").read_text()
    fields = entries(bibliography([], catalogue(None)))["bench"]
    assert f'title: "{TITLE}"' in said
    assert f'- name: "{AUTHOR}"' in said
    assert f'date-released: "{YEAR}-' in said
    assert fields["version"] == bench.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"] == "mlad-bench"
