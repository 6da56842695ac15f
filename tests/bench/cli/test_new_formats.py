"""`bench data new` says what of a format and its times it read, and what it did not."""

import json
import tomllib

TEXT = "".join(f"2024-05-01 12:00:{i:02} cup {i % 7} poured\n" for i in range(60))


def test_a_log_that_no_layout_fits_is_called_unknown(call, tmp_path):
    log = tmp_path / "odd.log"
    log.write_text("poured tea\nbroke a cup\n" * 30)
    code, out, _ = call("data", "new", "kitchen", log)
    assert code == 0
    assert "unknown: no format that is known here fits" in out
    assert "match" not in out.split("cards")[0]
    assert "none read" in out
    assert "No known format fits" in (tmp_path / "kitchen/_system.toml").read_text()
    assert json.loads(call("data", "new", "kitchen", log, "--force", "--json")[1])["matched"] == 0
    assert call("data", "info", "kitchen", "--data", tmp_path)[0] == 0


def test_the_zone_of_clocks_is_said_and_can_be_given(call, tmp_path):
    log = tmp_path / "tea.log"
    log.write_text(TEXT)
    code, out, _ = call("data", "new", "kitchen", log)
    assert (code, "100.0% read, in UTC, as they name no zone; else --zone" in out) == (0, True)
    code, out, _ = call("data", "new", "kitchen", log, "--force", "--zone", "Europe/Berlin")
    assert (code, "100.0% read, in Europe/Berlin" in out, "2024-05-01T10:00:00Z" in out) == (0, True, True)
    assert tomllib.loads((tmp_path / "kitchen/_system.toml").read_text())["format"]["zone"] == "Europe/Berlin"
    facts = json.loads(call("data", "info", "kitchen", "--data", tmp_path, "--json")[1])
    assert facts["time range (UTC)"].startswith("2024-05-01T10:00:00")
    code, out, err = call("data", "new", "other", log, "--zone", "Berlin")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--zone is 'Berlin'" in err


def test_what_is_no_text_is_named_with_a_way_out(call, tmp_path):
    log = tmp_path / "tea.log"
    log.write_bytes(TEXT.encode("utf-16"))
    code, out, err = call("data", "new", "kitchen", log)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "iconv -f UTF-16 -t UTF-8" in err
    assert not (tmp_path / "kitchen").exists()


def test_days_that_a_year_has_not_are_counted(call, tmp_path):
    log = tmp_path / "tea.log"
    log.write_text("".join(f"Feb {28 + i // 10} 10:00:{i:02} cup7 tead: poured {i}\n" for i in range(20)))
    assert call("data", "new", "kitchen", log, "--year", "2023")[0] == 2
    assert call("data", "new", "kitchen", log, "--year", "2024")[0] == 0
    card = tmp_path / "kitchen/_system.toml"
    card.write_text(card.read_text().replace("year = 2024", "year = 2023"))
    facts = json.loads(call("data", "info", "kitchen", "--data", tmp_path, "--json")[1])
    assert facts["defects"] == ["10 lines whose time cannot be read, the first is line 11"]


def test_a_further_edition_is_not_made_of_another_encoding(call, tmp_path):
    log, later = tmp_path / "tea.log", tmp_path / "later.log"
    log.write_text(TEXT)
    later.write_bytes(TEXT.encode("utf-16"))
    assert call("data", "new", "kitchen", log)[0] == 0
    code, _, err = call("data", "prepare", "kitchen@later", "--from", later, "--data", tmp_path)
    assert (code, "'later.log' is text in UTF-16" in err) == (2, True)
    assert not (tmp_path / "kitchen/later.toml").exists()


def test_a_line_that_is_not_read_has_its_number_in_the_file(call, tmp_path):
    log = tmp_path / "tea.log"
    trace = "Traceback (most recent call last):\n  File 'pot.py'\n"
    log.write_text(TEXT + trace + "2024-05-01 12:61:00 cup poured\n" + TEXT)
    notes = " ".join(json.loads(call("data", "new", "kitchen", log, "--json")[1])["notes"])
    assert "have a time that cannot be read, first line 63" in notes
