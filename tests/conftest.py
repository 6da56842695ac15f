"""What all tests share: the folder of real logs, a cache of their own, and small systems made on the spot."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest

from bench.data.cards.catalogue import catalogue
from bench.data.sequences.loader import Loader
from bench.errors import BenchError
from tests.lent_vectors import VARIABLE, lend_vectors

_STUB = importlib.util.spec_from_file_location("chat_stub", Path(__file__).with_name("chat_stub.py"))
_chat_stub = importlib.util.module_from_spec(_STUB)
_STUB.loader.exec_module(_chat_stub)
stub, chat_server, chat_environment = _chat_stub.stub, _chat_stub.chat_server, _chat_stub.chat_environment

# Read once, because no test may see it by accident.
DATA_AT_START = os.environ.get("BENCH_DATA")
# What continuous integration says: then nothing that needs real logs may be left out.
DATA_REQUIRED = os.environ.get("BENCH_REQUIRE_DATA") == "1"
NO_DATA = "BENCH_DATA is not set"
RESULTS = Path(__file__).parents[1] / "results"

FRESH_CLONES = ("test_two_commands.py",)

# Each has a quicker relative that is run every day; `make test-all` runs these too.
LONGEST = (
    "test_conformance[adlilog]",
    "test_conformance[cat]",
    "test_conformance[fusionlog]",
    "test_conformance[generallog]",
    "test_conformance[glad]",
    "test_conformance[logbert]",
    "test_conformance[loganomaly]",
    "test_conformance[logformer]",
    "test_conformance[loglab]",
    "test_conformance[logllm]",
    "test_conformance[logrobust]",
    "test_conformance[logsy]",
    "test_conformance[logtad]",
    "test_conformance[metalog]",
    "test_conformance[neurallog]",
    "test_conformance[ott-plm]",
    "test_conformance[plelog]",
    "test_conformance[pull]",
    "test_conformance[zerolog]",
    "test_a_cluster_of_the_command_ends_with_it_and_leaves_nothing",
    "test_records_that_old_and_new_code_disagree_on_stay_as_they_are",
    "test_an_edited_score_never_passes_for_its_old_numbers[plugin]",
    "test_an_edited_score_never_passes_for_its_old_numbers[shipped]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[of the environment-fit]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[of the environment-import]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[relative-fit]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[relative-import]",
    "test_a_cache_that_cannot_be_written[remount,size=4k]",
    "test_conformance[freelog]",
    "test_conformance[source-only]",
    "test_conformance[mlad]",
    "test_a_version_that_cannot_be_imported_is_a_row_until_a_later_one_ran",
    "test_an_edited_engine_makes_every_row_stale",
    "test_a_file_that_is_changed_back_is_its_row_again",
    "test_a_row_whose_code_is_gone_is_one_sentence",
    "test_records_that_old_code_made_are_verified_with_the_new",
    "test_scores_are_compared_where_they_are_here",
    "test_answers_of_a_batch_are_those_of_calls[chatgpt-settings1-1]",
    "test_answers_of_a_batch_are_those_of_calls[logprompt-settings3-1]",
    "test_a_damaged_array_gives_the_numbers_of_an_undamaged_run[message_ids.bin]",
    "test_a_damaged_array_gives_the_numbers_of_an_undamaged_run[session_codes.bin]",
    "test_a_damaged_array_gives_the_numbers_of_an_undamaged_run[file_starts.bin]",
    "test_published_values_beside_ours",
    "test_a_module_beside_a_local_file_belongs_to_its_code",
    "test_labels_are_never_in_a_prompt",
    "test_what_cannot_be_run_again_is_one_sentence[change0-holds no numbers (skipped: no labels)]",
    "test_what_cannot_be_run_again_is_one_sentence[change2-BENCH_DATA]",
    "test_an_edited_score_never_passes_for_its_old_numbers[local]",
    "test_conformance[deeplog]",
    "test_show_says_whose_code_a_record_is",
    "test_answers_of_a_batch_are_those_of_calls[chatgpt-cot-settings2-2]",
    "test_a_replay_without_a_needed_answer_is_an_error_row[half of it]",
    "test_facts_of_a_detector_that_are_not_its_own_make_no_wrong_row[False]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[of the environment-score]",
    "test_hadoop_runs",
    "test_a_cache_that_cannot_be_written[remount,ro]",
    "test_the_guard_of_a_method_is_killed_or_stopped[SIGKILL]",
    "test_a_clock_that_goes_back_a_day_at_each_look[inbox]",
    "test_a_plugin_that_changes_the_folder_moves_nothing[relative-score]",
    "test_a_script_runs[scikit_learn.py]",
    "test_a_suite_file_needs_a_yes_for_an_address_or_a_folder[base_url={url}]",
    "test_mistakes_are_those_of_the_scores_at_the_stored_threshold[hdfs@simulated]",
    "test_the_suite_of_table_4_is_replayed_from_shipped_answers",
    "test_a_folder_that_fills_up_when_tables_are_written",
    "test_openstack_runs",
    "test_a_clock_that_goes_back_changes_no_number_and_no_resume",
    "test_it_runs_as_a_file_beside_the_controls",
    "test_a_part_has_a_name_that_other_commands_know",
    "test_a_driver_that_is_stopped_for_a_while_loses_no_claim",
    "test_the_shipped_answers_replay_fusionlog_on_simulated_systems",
    "test_overlapping_commands_do_each_cell_once",
    "test_labels_and_logs_that_changed_are_noticed[l.csv-b1,ok-b1,od-run]",
    "test_a_run_has_an_oracle_but_no_estimated_threshold",
    "test_own_data_run",
    "test_an_accident_ends_in_its_own_row[2-Exits]",
    "test_whoever_scores_may_type_an_address",
    "test_new_lines_get_the_scores_of_the_run_with_message_parameters",
    "test_the_nursery_is_killed_and_no_row_is_lost[2]",
    "test_it_was_stopped_in_the_middle[SIGINT]",
    "test_the_parameter_model_passes_the_conformance_kit",
    "test_a_clock_that_goes_back_a_day_at_each_look[archive]",
    "test_a_plan_needs_no_cluster",
    "test_new_lines_get_the_scores_of_the_run[deeplog]",
    "test_any_card_is_a_card_or_refused",
    "test_the_driver_is_killed_and_all_end_with_it[2-driver and nursery]",
    "test_compiled_training_is_one_graph_and_changes_nothing",
    "test_tables_and_json_hold_nothing_that_a_method_prints",
    "test_what_is_not_reproduced_names_numbers_code_and_environment",
    "test_a_kill_at_any_step_of_a_save_leaves_one_detector_or_the_other[False]",
    "test_a_suite_file_needs_a_yes_for_an_address_or_a_folder[store=planted]",
    "test_the_driver_is_killed_and_all_end_with_it[2-driver and method]",
    "test_a_replay_without_a_needed_answer_is_an_error_row[of another model]",
    "test_what_cannot_be_run_again_is_one_sentence[change3-it has no setting 'old' any more]",
    "test_a_full_results_folder[32768]",
    "test_a_damaged_array_gives_the_numbers_of_an_undamaged_run[session_labels.bin]",
    "test_what_cannot_be_run_again_is_one_sentence[change1-cannot be run again: today's spec differs in "
    "protocol_version]",
    "test_real_editions_hold_what_their_cards_say[nezha_trainticket@d0129]",
    "test_a_suite_with_a_map_runs_and_can_be_plotted_again",
    "test_figures_take_no_record_of_an_older_version",
    "test_labels_and_logs_that_changed_are_noticed[l.csv-b1,ok-b1,od-info]",
    "test_a_record_of_a_newer_version_is_left_as_it_is[archive]",
    "test_a_full_device_as_stdout_is_one_sentence[command0]",
    "test_a_row_skipped_for_want_of_an_endpoint_runs_once_there_is_one",
    "test_other_pythons_give_the_same_digests[3.13]",
    "test_an_accident_ends_in_its_own_row[2-OsExits]",
    "test_a_sample_is_counted_before_it_is_paid_and_a_larger_one_asks_only_for_more",
    "test_other_pythons_give_the_same_digests[3.12]",
    "test_the_process_of_a_method_is_killed_in_mid_fit",
    "test_answers_of_a_batch_are_those_of_calls[chatgpt-settings0-1]",
    "test_packed_answers_are_replayed_elsewhere",
    "test_a_method_that_is_gone_is_one_sentence",
    "test_what_a_plugin_leaves_running_is_not_waited_for[import-thread]",
    "test_facts_of_a_detector_that_are_not_its_own_make_no_wrong_row[True]",
    "test_torch_with_threads_and_loaders",
    "test_what_a_plugin_leaves_running_is_not_waited_for[fit-process]",
    "test_control_characters_of_a_failing_import_reach_neither_record_nor_terminal",
    "test_the_limits_of_a_command_hold_for_all_its_processes_together[limits0]",
    "test_two_jobs_run_side_by_side_and_say_so",
    "test_labels_and_logs_that_changed_are_noticed[a.log-message a-message x-range]",
    "test_a_lasting_failure_is_named_and_the_other_answers_are_kept[stall]",
    "test_an_import_that_never_ends_costs_its_own_row[0.5-timeout]",
    "test_what_is_on_a_disk_is_json",
    "test_a_dry_run_counts_what_would_be_asked",
    "test_the_limits_of_a_command_hold_for_all_its_processes_together[limits1]",
    "test_labels_and_logs_that_changed_are_noticed[a.log-message a-message x-prepare]",
    "test_labels_and_logs_that_changed_are_noticed[a.log-message a-message x-info]",
    "test_nothing_outlives_those_that_are_killed[both]",
    "test_a_fit_is_not_made_beside_another_command_that_makes_it",
    "test_what_a_plugin_leaves_running_is_not_waited_for[import-process]",
    "test_failures_that_pass_change_no_score[ChatGPTCoT]",
    "test_data_are_prepared_once_for_all_jobs",
    "test_nothing_outlives_those_that_are_killed[nursery]",
    "test_labels_and_logs_that_changed_are_noticed[l.csv-b1,ok-b1,od-range]",
    "test_labels_and_logs_that_changed_are_noticed[a.log-message a-message x-fit]",
    "test_several_suites_run_one_after_the_other",
    "test_an_import_costs_its_own_row[segfaults]",
)

SYSTEM = {
    "title": "An application",
    "licence": "MIT",
    "citation": "nobody",
    "tier": "smoke",
    "rank": 10,
    "kind": "lines",
    "notes": "made by a test",
}


@pytest.fixture(scope="session", autouse=True)
def the_results_of_the_checkout_stay():
    """No test writes into `results/` of the repository: what is committed there is evidence."""
    before = _digests(RESULTS)
    yield
    assert _digests(RESULTS) == before, "a test wrote into results/ of the checkout"


def _digests(folder):
    kept = ("records", "tables", "studies", "figures", "comparisons")
    files = [*folder.glob("*.*"), *(file for name in kept for file in (folder / name).rglob("*") if file.is_file())]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.suffix != ".lock"}


def pytest_collection_modifyitems(items):
    """Mark what is known by itself; the fresh clones first, since as the last ones they would keep one worker alone."""
    for item in items:
        if "real_data" in item.fixturenames:
            item.add_marker("real")
            if not (DATA_AT_START or DATA_REQUIRED):
                item.add_marker(pytest.mark.skip(reason=NO_DATA))
        if item.name in LONGEST:
            item.add_marker("slow")
        if getattr(item.obj, "is_hypothesis_test", False) or "fuzz" in item.originalname:
            item.add_marker("fuzz")
        if item.path.parent.name == "cli" or {"subprocess", "multiprocessing"} & vars(item.module).keys():
            item.add_marker("commands")
    items.sort(key=lambda item: item.path.name not in FRESH_CLONES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Real logs of which a file is not here do not run either, and are counted; unless they must."""
    report = yield
    missing = _missing_file(call.excinfo.value) if call.excinfo else None
    if missing and DATA_AT_START and not DATA_REQUIRED and item.get_closest_marker("real"):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.reportinfo()[1] + 1, f"not in BENCH_DATA: {missing}")
    return report


def _missing_file(error):
    """What a test says that did not find a file of the data folder, or None where it failed for another reason."""
    text = str(error)
    not_found = isinstance(error, BenchError | FileNotFoundError) and "No such file or directory" in text
    is_told = any(f" {word} {DATA_AT_START}" in text for word in ("into", "in"))
    return text.partition("\n")[0] if not_found or is_told else None


def _wanted_data(report):
    """Whether a test was left out for want of real logs, and not for another reason of its own."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
    return NO_DATA in reason or "not in BENCH_DATA: " in reason


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """After everything else, in the last line: what did not run for want of real logs."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    n_real = sum(_wanted_data(report) for report in skipped)
    if n_real:
        way_out = "files are missing in BENCH_DATA, they are named above" if DATA_AT_START else "set BENCH_DATA"
        reporter.write_line(f"not run: {n_real} tests that need real logs ({way_out})")
    return result


def pytest_make_parametrize_id(config, val, argname):
    """Packed bytes hold the time they were made at: as names of tests they would differ between parallel workers."""
    return argname if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session")
def real_data():
    """The folder of real logs; tests that ask for it are left out where there is none, unless it is required."""
    if not DATA_AT_START:
        pytest.fail(f"{NO_DATA}, and BENCH_REQUIRE_DATA=1 wants the real logs", pytrace=False)
    return Path(DATA_AT_START)


@pytest.fixture(scope="session")
def real_loader(real_data):
    """A loader of the real editions, so that each is read once for all tests."""
    return Loader(catalogue(real_data))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    everyone = tmp_path_factory.getbasetemp()
    everyone = everyone.parent if "PYTEST_XDIST_WORKER" in os.environ else everyone
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(everyone / "vectors.sqlite"))
        patch.setenv("BENCH_CACHE", str(lend_vectors(tmp_path_factory.mktemp("cache"))))
        yield


@pytest.fixture(autouse=True)
def _no_data_by_accident(monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)


def toml_value(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@pytest.fixture
def own_system(tmp_path):
    """Write a system as a user would, below one data folder, and return the catalogue of that folder.

    files: {name: bytes}, or {(name, role): bytes}; `fields` go into the edition's card.
    """
    data = tmp_path / "data"

    def make(files, *, name="app", edition="mine", **fields):
        folder = data / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for key, content in files.items():
            file, role = key if isinstance(key, tuple) else (key, "log")
            (folder / file).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            rows.append({"name": f"{name}/{file}", "sha256": digest, "role": role})
        card = {**fields, "files": rows}
        for path, values in ((folder / "_system.toml", SYSTEM), (folder / f"{edition}.toml", card)):
            path.write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in values.items()), "utf-8")
        return catalogue(data)

    return make
