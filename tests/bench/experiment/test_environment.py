"""What a record says of its machine."""

from bench.experiment.environment import describe_environment, first_processor, instructions

TEXT = """processor\t: 0
model name\t: Some CPU @ 2 GHz
flags\t\t: fpu avx2 sse avx512f

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


def test_the_first_processor_names_its_vector_instructions_the_widest_first():
    found = first_processor(TEXT)
    assert found["model name"] == "Some CPU @ 2 GHz"
    assert instructions(found) == "avx512f avx2"
    assert instructions({"Features": "fp asimd evtstrm"}) == "asimd"
    assert instructions({}) == ""


def test_an_environment_is_plain_json_without_a_name_of_the_machine():
    found = describe_environment()
    assert isinstance(found["instructions"], str)
    assert set(found) == {"python", "platform", "cpu", "instructions", "cores", "packages", "git_commit", "git_dirty"}
