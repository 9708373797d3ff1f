"""What words and files mean that say several values for config."""

import json

import pytest

from gage._internal.errors import BadConfigValue, BatchFileError, UnknownConfig, UsageError
from gage._internal.project.batches import choose_configs, parse_batch
from gage._internal.project.operations import find_operation
from gage._internal.project.projects import read_project

SCRIPT = """\
lr = 0.1
seed = 0
name = "a"
debug = False
layers = [1, 2]
grid = [[1], [2]]
pair = (1, 2)
nothing = None
"""


@pytest.fixture
def operation(tmp_path):
    (tmp_path / "a.py").write_text(SCRIPT)
    return find_operation(read_project(str(tmp_path)), "a.py", str(tmp_path))


def chosen(operation, *words, files=(), trials=None, cwd=".", **options):
    batch = parse_batch(operation, words, files, str(cwd), trials is not None)
    return choose_configs(operation, batch, trials, **options)


def values(operation, word, **options):
    name = word.partition("=")[0]
    return [config[name] for config in chosen(operation, word, **options).configs]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=[0.1, 1,1e-3]", [0.1, 1.0, 0.001]),
        ("lr=[0.5]", [0.5]),
        ("lr=0.5", [0.5]),
        ("seed=[1,0x10]", [1, 16]),
        ("seed=[1,2,]", [1, 2]),
        ("debug=[yes,no]", [True, False]),
        ("name=[b, c d ,e]", ["b", "c d", "e"]),
        ("name=[don't, can't]", ["don't", "can't"]),
        ("name=['x, y', \"z\"]", ["x, y", "z"]),
        ("name=[[b, c]]", ["[b, c]"]),
        ("name=[a(b, c), d]", ["a(b, c)", "d"]),
        ("name=  b  ", ["  b  "]),
        ("name=[b] and [c]", ["[b] and [c]"]),
        ("name= [b, c] ", ["b", "c"]),
        ("name=range(5)", ["range(5)"]),
        ("name=uniform(0, 1)", ["uniform(0, 1)"]),
        ("name=choice(b, c)", ["choice(b, c)"]),
        ("layers=[3, 4]", [[3, 4]]),
        ("layers=[]", [[]]),
        ("layers=[[3, 4], [5]]", [[3, 4], [5]]),
        ("grid=[[3], [4]]", [[[3], [4]]]),
        ("grid=[[[3], [4]], [[5]]]", [[[3], [4]], [[5]]]),
        ("pair=[(3, 4), (5, 6)]", [[3, 4], [5, 6]]),
        ("nothing=[1, 2]", [[1, 2]]),
        ("nothing=[[1, 2], [3]]", [[1, 2], [3]]),
        ("nothing=range(2)", [0, 1]),
        ("seed=range(3)", [0, 1, 2]),
        ("seed=range(2, 10, 4)", [2, 6]),
        ("seed=range(3, 0, -1)", [3, 2, 1]),
        ("lr=range(2)", [0.0, 1.0]),
        ("lr=linspace(0, 0.3, 4)", [0.0, 0.1, 0.2, 0.3]),
        ("lr=linspace(1, 2, 1)", [1.0]),
        ("seed=linspace(0, 10, 3)", [0, 5, 10]),
        ("lr=logspace(1e-4, 1e-1, 4)", [0.0001, 0.001, 0.01, 0.1]),
        ("seed=logspace(1, 1000, 4)", [1, 10, 100, 1000]),
    ],
)
def test_what_words_mean(operation, word, expected):
    found = values(operation, word)
    assert found == expected
    assert [type(each) for each in found] == [type(each) for each in expected]


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("lr=[]", UsageError, "lr (a.py:1): [] has no values"),
        ("seed=range(0)", UsageError, "range(0) has no values"),
        ("lr=[0.1, x]", BadConfigValue, "lr (a.py:1) takes a number, not 'x'"),
        ("lr=[0.1, , 1]", BadConfigValue, "takes a number, not ''"),
        ("seed=linspace(0, 1, 3)", BadConfigValue, "takes a whole number, not 0.5"),
        ("seed=range(0.5)", BadConfigValue, "range takes one to three whole numbers"),
        ("seed=range(1, 2, 0)", BadConfigValue, "the step of range is 0"),
        ("seed=range(10000000)", UsageError, "this range has 10000000 values"),
        ("lr=logspace(-4, -1, 4)", BadConfigValue, "logspace takes ends above 0"),
        ("lr=linspace(0, 1)", BadConfigValue, "linspace takes two ends and a count"),
        ("lr=linspace(0, nan, 2)", BadConfigValue, "linspace takes numbers, not 'nan'"),
        (f"seed=randint(0, {10**400})", BadConfigValue, "randint takes numbers, not '1000"),
        ("lr=uniform(0, 1)", UsageError, "nobody says how often"),
        ("lr=uniform(1, 0)", BadConfigValue, "uniform takes the least and the greatest value"),
        ("lr=loguniform(0, 1)", BadConfigValue, "loguniform takes ends above 0"),
        ("seed=uniform(0, 0.5)", BadConfigValue, "have to be whole numbers"),
        ("sed=[1, 2]", UnknownConfig, "a.py has no config sed"),
        ("debug=uniform(0, 1)", BadConfigValue, "takes true or false"),
    ],
)
def test_what_words_cannot_mean(operation, word, error, message):
    with pytest.raises(error) as raised:
        chosen(operation, word)
    assert message in raised.value.message


def test_words_multiply_and_the_first_varies_slowest(operation):
    found = chosen(operation, "seed=[1,2]", "name=x", "lr=[0.5,0.25]")
    kept = [(c["seed"], c["lr"], c["name"], c["debug"]) for c in found.configs]
    rest = ("x", False)
    assert kept == [(1, 0.5, *rest), (1, 0.25, *rest), (2, 0.5, *rest), (2, 0.25, *rest)]
    assert (found.total, found.same, found.seed) == (4, 0, None)


def test_configs_that_are_the_same_are_one(operation):
    found = chosen(operation, "lr=[1, 1.0, 2]")
    assert [config["lr"] for config in found.configs] == [1.0, 2.0]
    assert (found.total, found.same) == (3, 1)


def test_of_more_than_what_is_asked_for_the_first_are_taken(operation):
    found = chosen(operation, "seed=range(1000000)", "lr=range(1000)", most=3)
    assert [config["lr"] for config in found.configs] == [0.0, 1.0, 2.0]
    assert found.total == 10**9


def test_very_many_runs_have_to_be_asked_for(operation):
    with pytest.raises(UsageError, match="this would be 1000000 runs"):
        chosen(operation, "seed=range(1000)", "lr=range(1000)")


def test_the_same_seed_draws_the_same_and_more_trials_go_on(operation):
    words = ("lr=loguniform(1e-4, 1e-1)", "seed=randint(1, 3)", "name=choice(b, 'c, d')")
    found = chosen(operation, *words, trials=50, seed=7)
    assert found.configs == chosen(operation, *words, trials=50, seed=7).configs
    assert found.configs[:20] == chosen(operation, *words, trials=20, seed=7).configs
    assert found.configs != chosen(operation, *words, trials=50, seed=8).configs
    assert all(1e-4 <= config["lr"] <= 1e-1 for config in found.configs)
    assert {config["seed"] for config in found.configs} == {1, 2, 3}
    assert {config["name"] for config in found.configs} == {"b", "c, d"}
    below = sum(config["lr"] < 3.16e-3 for config in found.configs)
    assert 10 < below < 40


def test_no_more_is_drawn_than_is_taken(operation):
    words = ("lr=[1,2]", "seed=randint(1, 3)")
    found = chosen(operation, *words, trials=10**9, seed=7, most=3)
    assert found.configs == chosen(operation, *words, trials=100, seed=7).configs[:3]
    assert found.total == 2 * 10**9
    # There are no more than six.
    found = chosen(operation, *words, trials=10**9, seed=7, most=7)
    assert found.configs == chosen(operation, *words, trials=100, seed=7).configs
    with pytest.raises(UsageError, match="this would be 2000000000 runs"):
        chosen(operation, *words, trials=10**9)


def test_what_a_seed_draws_stays_the_same(operation):
    words = ("seed=randint(0, 4294967295)", "lr=uniform(0, 1)", f"nothing=randint(-5, {2**64})")
    found = chosen(operation, *words, trials=2, seed=7).configs
    assert [(config["seed"], config["lr"], config["nothing"]) for config in found] == [
        (1390851134, 0.150849, 3661103327533528858),
        (311111482, 0.535882, 2460878549711171868),
    ]


def test_whole_numbers_are_drawn_of_all_that_there_are(operation):
    for high in (2**63 - 1, 2**64 + 1, 10**300):
        found = values(operation, f"seed=randint(-1, {high})", trials=200, seed=7)
        assert {each % 8 for each in found} == set(range(8)) and len(set(found)) == 200
        assert all(-1 <= each <= high for each in found)
        assert 70 < sum(each < high // 2 for each in found) < 130


def test_a_seed_is_drawn_and_told_where_none_is_given(operation):
    found = chosen(operation, "lr=uniform(0, 1)", trials=3)
    again = chosen(operation, "lr=uniform(0, 1)", trials=3, seed=found.seed)
    assert again.configs == found.configs


def test_whole_numbers_are_drawn_where_config_is_whole(operation):
    for word in ("seed=uniform(1, 4)", "seed=loguniform(1, 4)"):
        found = values(operation, word, trials=60, seed=1)
        assert set(found) <= {1, 2, 3, 4} and {1, 4} <= set(found)
        assert all(type(each) is int for each in found)


def test_what_is_drawn_is_the_same_for_each_of_what_is_listed(operation):
    found = chosen(operation, "lr=uniform(0, 1)", "seed=[1,2]", trials=3, seed=1)
    drawn = [config["lr"] for config in found.configs]
    assert [config["seed"] for config in found.configs] == [1, 1, 1, 2, 2, 2]
    assert drawn[:3] == drawn[3:] and len(set(drawn)) == 3


@pytest.mark.parametrize("option", ["trials", "seed"])
def test_to_draw_there_has_to_be_something_to_draw(operation, option):
    with pytest.raises(UsageError, match=f"--{option} is for what is drawn at random"):
        chosen(operation, "lr=[1,2]", **{option: 3})


def test_who_means_config_by_an_option_is_told(operation):
    with pytest.raises(UsageError) as raised:
        chosen(operation, "lr=[1,2]", seed=3)
    assert raised.value.hint == "config is written without dashes: seed=3"


FILES = {
    "a.csv": "lr, name\n0.5,b\n0.25,\n\n1,'c'\n",
    "a.json": '[{"lr": 0.5, "name": "b"}, {"lr": 0.25}, {"lr": 1, "name": "\'c\'"}]',
    "a.yaml": "- lr: 0.5\n  name: b\n- {lr: 0.25}\n- lr: 1\n  name: \"'c'\"\n",
    "a.yml": "- lr: 0.5\n  name: b\n- {lr: 0.25}\n- lr: 1\n  name: \"'c'\"\n",
    "a.toml": (
        '[[run]]\nlr = 0.5\nname = "b"\n[[run]]\nlr = 0.25\n[[run]]\nlr = 1\nname = "\'c\'"\n'
    ),
}


@pytest.mark.parametrize("file", FILES)
def test_a_row_of_a_file_is_a_run(operation, tmp_path, file):
    (tmp_path / file).write_text(FILES[file])
    found = chosen(operation, "seed=3", files=[file], cwd=tmp_path)
    kept = [(config["lr"], config["name"], config["seed"]) for config in found.configs]
    assert kept == [(0.5, "b", 3), (0.25, "a", 3), (1.0, "'c'", 3)]


def test_a_value_of_a_csv_file_may_hold_other_ends_of_lines(operation, tmp_path):
    odd = [f"a{end}b" for end in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"]
    (tmp_path / "a.csv").write_text("\r\n".join(["name", *odd, '"a\n\nb"']), newline="")
    found = chosen(operation, files=["a.csv"], cwd=tmp_path)
    assert [config["name"] for config in found.configs] == [*odd, "a\n\nb"]


def test_files_multiply_with_each_other_and_with_words(operation, tmp_path):
    (tmp_path / "a.csv").write_text("lr\n0.5\n0.25\n")
    (tmp_path / "b.json").write_text('[{"name": "b"}, {"name": "c"}]')
    found = chosen(operation, "seed=[1,2]", files=["a.csv", "b.json"], cwd=tmp_path)
    kept = [(config["seed"], config["lr"], config["name"]) for config in found.configs]
    assert kept == [(s, lr, n) for s in (1, 2) for lr in (0.5, 0.25) for n in "bc"]


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("a.csv", "lr\n0.5\nx\n", BadConfigValue, "a.csv:3: lr (a.py:1) takes a number, not 'x'"),
        ("a.csv", "lr\n1\n1,2\n", BatchFileError, "a.csv:3: has 2 values for 1 names"),
        ("a.csv", "lr,lr\n1,2\n", BatchFileError, "a.csv:1: each column needs a name"),
        ("a.csv", "sed\n1\n", UnknownConfig, "a.csv:2: a.py has no config sed"),
        ("a.csv", 'name\n"b\n', BatchFileError, "a.csv:2: "),
        ("a.csv", "lr, name\n\n", BatchFileError, "a.csv:1: names lr, name, and no row below has"),
        ("a.csv", "", BatchFileError, "a.csv is empty: there is nothing to stage"),
        ("a.csv", "\n1\n", BatchFileError, "a.csv:1: each column needs a name"),
        ("a.json", "\n", BatchFileError, "a.json is empty"),
        ("a.toml", "", BatchFileError, "a.toml is empty"),
        ("a.toml", "# none\n", BatchFileError, "a.toml has no rows"),
        ("a.json", "[]", BatchFileError, "a.json has no rows"),
        ("a.json", "[{}, \n{]", BatchFileError, "a.json:2: "),
        ("a.json", '[{"lr": 1}, {"lr": 1, "lr": 2}]', BatchFileError, "row 2: gives lr twice"),
        ("a.json", '[{"lr": [{"b": {"a": 1, "a": 1}}]}]', BatchFileError, "row 1: gives a twice"),
        ("a.yaml", "- lr: 1\n  lr: 2\n", BatchFileError, 'found duplicate key "lr"'),
        ("a.json", '{"lr": 1}', BatchFileError, "a.json is not a list of rows"),
        ("a.json", "[1]", BatchFileError, "a.json, row 1: is no values by name"),
        ("a.json", '[{"lr": 1}, {"lr": "x"}]', BadConfigValue, "a.json, row 2: lr (a.py:1) takes"),
        ("a.yaml", "- lr: [1\n", BatchFileError, "a.yaml: "),
        ("a.yaml", "", BatchFileError, "a.yaml is empty"),
        ("a.yaml", "# none\n", BatchFileError, "a.yaml has no rows"),
        ("a.yaml", "- nothing: 2001-01-01\n", BadConfigValue, "a.yaml, row 1: nothing"),
        ("a.toml", "[[a]]\n[[b]]\n", BatchFileError, "more than one array of tables"),
        ("a.toml", "lr = 1\n", BatchFileError, "a.toml is not a list of rows"),
        ("a.toml", "lr = \n", BatchFileError, "a.toml: "),
        ("a.txt", "", BatchFileError, "a.txt is not a .csv"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    operation, tmp_path, file, content, error, message
):
    (tmp_path / file).write_text(content)
    with pytest.raises(error) as raised:
        chosen(operation, files=[file], cwd=tmp_path)
    assert raised.value.message.startswith(message) or message in raised.value.message


def test_a_file_that_is_not_there(operation, tmp_path):
    with pytest.raises(BatchFileError, match=r"gone\.csv: No such file"):
        chosen(operation, files=["gone.csv"], cwd=tmp_path)


def test_nothing_is_given_twice(operation, tmp_path):
    (tmp_path / "a.csv").write_text("lr\n1\n")
    (tmp_path / "b.json").write_text('[{"lr": 1}]')
    for words, files in ((["lr=2"], ["a.csv"]), ([], ["a.csv", "b.json"])):
        with pytest.raises(UsageError, match=r"lr is in [ab]\.(csv|json) and"):
            chosen(operation, *words, files=files, cwd=tmp_path)
    with pytest.raises(UsageError, match="lr is given twice"):
        chosen(operation, "lr=1", "lr=[2,3]")


def test_an_option_without_a_default_goes_by_its_type(tmp_path):
    (tmp_path / "a.py").write_text(
        "import argparse\n"
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('--n', type=int)\n"
        "p.add_argument('--name')\n"
        "p.add_argument('--sizes', type=int, nargs='*')\n"
    )
    operation = find_operation(read_project(str(tmp_path)), "a.py", str(tmp_path))
    assert values(operation, "n=[1,2]") == [1, 2]
    assert values(operation, "n=range(2)") == [0, 1]
    assert values(operation, "name=[b,c]") == ["b", "c"]
    assert values(operation, "sizes=[1,2]") == [[1, 2]]
    assert values(operation, "sizes=[[1,2],[3]]") == [[1, 2], [3]]


def test_configs_are_what_can_be_recorded(operation):
    found = chosen(operation, "pair=[(3, 4), (5, 6)]", "layers=[[1],[2]]")
    assert json.loads(json.dumps(found.configs)) == found.configs
