"""Which environments are synced, and with whose token and host."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mirror.config.environments import Shard, environment_names, resolve
from mirror.config.file import Configuration, load
from mirror.config.settings import ApiSettings
from mirror.errors import UsageError
from tests.support.settings import sources
from tests.support.upstream import TOKEN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration file with two environments, and the token of one."""
    (tmp_path / "prod.token").write_text(TOKEN)
    path = tmp_path / "mirror.toml"
    path.write_text("""
        [environments.prod]
        base_url = "https://voice.example.com/api/v1"
        token_file = "prod.token"
        [environments."EU staging"]
        base_url = "https://eu.example.com/api/v1"
        token_env = "EU_TOKEN"
        """)
    return path


def valid(api: ApiSettings | UsageError) -> ApiSettings:
    """Settings that are no error."""
    assert isinstance(api, ApiSettings), api
    return api


def test_which_environments_are_synced(path: Path) -> None:
    """The named ones, else all of the file, each once; without a file any name is accepted."""
    file = load(str(path))
    assert environment_names(file) == ["prod", "EU staging"]
    named = ["EU staging", "prod", "EU staging"]
    assert environment_names(file, named) == ["EU staging", "prod"]
    assert environment_names(Configuration(), ["any", "label"]) == ["any", "label"]
    assert environment_names(Configuration()) == ["default"]


def test_unknown_environments(path: Path) -> None:
    """A mistyped name is not taken for a new one, and a name of the file must be usable."""
    for name, hint in (("prd", "did you mean 'prod'?"), ("xyz", "there are prod, EU staging")):
        with pytest.raises(UsageError) as raised:
            environment_names(load(str(path)), [name])
        assert hint in str(raised.value)
    path.write_text('[environments." x"]\n')
    with pytest.raises(UsageError, match="cannot be the name of an environment"):
        environment_names(load(str(path)))


def test_an_error_in_one_environment_leaves_the_others(path: Path) -> None:
    """An environment without its token has its error, the others can be synced."""
    prod, staging = resolve(sources({}, path))
    assert valid(prod.api).token.reveal() == TOKEN
    assert isinstance(staging.api, UsageError)
    assert "EU_TOKEN is not set" in str(staging.api)
    assert "[environments.EU staging]" in str(staging.api)


@pytest.mark.parametrize("source", ["TALKOVER_TOKEN", "TALKOVER_TOKEN_FILE", "--token-file"])
def test_one_token_does_not_replace_several(source: str, path: Path) -> None:
    """A forgotten variable does not mix the environments up."""
    option = source == "--token-file"
    given = sources(
        {} if option else {source: TOKEN}, path, **({"token_file": TOKEN} if option else {})
    )
    with pytest.raises(UsageError, match=f"{source} would give one token to") as raised:
        resolve(given)
    assert TOKEN not in str(raised.value)
    assert len(resolve(given, ["prod"])) == 1


def test_one_token_for_environments_without_one(path: Path) -> None:
    """Environments without a token in the file, or with the same variable, share the given one."""
    path.write_text(
        "[environments.a]\nbase_url = 'https://a.example/api/v1'\n"
        "[environments.b]\nbase_url = 'https://b.example/api/v1'\ntoken_env = 'TALKOVER_TOKEN'\n"
    )
    both = resolve(sources({"TALKOVER_TOKEN": TOKEN}, path))
    assert [valid(environment.api).token.reveal() for environment in both] == [TOKEN, TOKEN]
    without = resolve(sources({}, path))
    assert all(isinstance(environment.api, UsageError) for environment in without)


def test_tokens_for_several_hosts_do_not_go_to_one(path: Path) -> None:
    """One base URL for all is refused where the file gives the environments their own."""
    url = "https://one.example/api/v1"
    environ = {"TALKOVER_BASE_URL": url, "EU_TOKEN": "talq_eu"}
    with pytest.raises(UsageError, match="TALKOVER_BASE_URL would give one host to"):
        resolve(sources(environ, path))
    (only,) = resolve(sources(environ, path), ["prod"])
    assert valid(only.api).base_url == url
    path.write_text("[environments.a]\ntoken_env = 'A'\n[environments.b]\ntoken_env = 'B'\n")
    both = resolve(sources(environ | {"A": "talq_a", "B": "talq_b"}, path))
    assert {valid(environment.api).base_url for environment in both} == {url}


@pytest.mark.parametrize(
    ("environment", "indexes"),
    [
        ("prod", {1: 0, 2: 1, 3: 1, 4: 3, 7: 3, 1000: 287}),
        ("EU staging", {1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 1000: 963}),
        ("Zürich", {1: 0, 2: 1, 3: 1, 4: 1, 7: 3, 1000: 805}),
    ],
)
def test_the_shard_of_a_name(environment: str, indexes: dict[int, int]) -> None:
    """It is the same on every machine and for ever: the number that `sha256sum` prints, modulo."""
    for count, expected in indexes.items():
        found = [index for index in range(count) if environment in Shard(index, count)]
        assert found == [expected]


def test_shards_divide_the_file(path: Path) -> None:
    """Each environment is in one shard, whatever else the file has, in the order of the file."""

    def shards(names: list[str]) -> list[list[str]]:
        path.write_text("".join(f"[environments.{name}]\n" for name in names))
        given = sources({}, path)
        return [
            [environment.environment for environment in resolve(given, shard=Shard(index, 4))]
            for index in range(4)
        ]

    names = [f"e{number}" for number in range(300)]
    found = shards(names)
    assert sorted(itertools.chain(*found)) == sorted(names)
    assert found == [sorted(shard, key=names.index) for shard in found]
    assert all(50 < len(shard) < 100 for shard in found)
    assert shards(["e7"]) == [[name for name in shard if name == "e7"] for shard in found]


def test_a_shard_is_a_part_of_a_file(path: Path) -> None:
    """A file that was forgotten is an error in all shards: else all but one would find no work."""
    path.write_text("[defaults]\nrate = 10\n")
    for file in (None, path):
        with pytest.raises(UsageError, match="--config or MIRROR_CONFIG"):
            resolve(sources({}, file), shard=Shard(0, 4))


def test_a_shard_of_one_environment_is_not_that_of_a_forgotten_variable(path: Path) -> None:
    """What is refused for all environments of the file is refused in each shard."""
    shards = [Shard(index, 4) for index in range(4)]
    assert sorted(len(resolve(sources({}, path), shard=shard)) for shard in shards) == [0, 0, 0, 2]
    shards.append(alone := Shard(2, 3))
    for variable in ("TALKOVER_TOKEN", "TALKOVER_TOKEN_FILE", "TALKOVER_BASE_URL"):
        for shard in shards:
            with pytest.raises(UsageError, match=f"{variable} would give one"):
                resolve(sources({variable: "https://one.example/api/v1"}, path), shard=shard)
    assert [one.environment for one in resolve(sources({}, path), shard=alone)] == ["EU staging"]
