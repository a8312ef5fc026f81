"""The environments to sync, and the settings of each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import product
from typing import Self

import msgspec

from mirror.config import settings
from mirror.config.file import Configuration, suggest
from mirror.config.resolver import SettingSources
from mirror.config.settings import ApiSettings
from mirror.config.sources import VARIABLES
from mirror.errors import UsageError

_ONE_PER_ENVIRONMENT = {"token_file": "token", "token_env": "token", "base_url": "host"}


class EnvironmentConfig(msgspec.Struct, frozen=True):
    """An environment to sync.

    Attributes:
        environment: its name.
        api: its settings of the API, or the error that makes them unusable.
    """

    environment: str
    api: ApiSettings | UsageError


class Shard(msgspec.Struct, frozen=True):
    """A share of the environments, for one of several processes that divide them.

    Attributes:
        index: which one, from 0.
        count: the number of shards.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that a text means, such as "0/4".

        Raises:
            UsageError: it means none.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or int(match[1]) >= int(match[2]):
            raise UsageError(
                f"{text!r} is not a shard",
                hint="its index counts from 0, so four shards are 0/4, 1/4, 2/4 and 3/4, and there "
                "are at most 999999",
            )
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, environment: str) -> bool:
        """Return whether an environment is in the shard.

        That depends on its name and `count` alone: the SHA-256 of the name, as a number, leaves the
        remainder `index`. (Python's own hash differs between processes.)
        """
        digest = hashlib.sha256(environment.encode()).hexdigest()
        return int(digest, 16) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def resolve(
    sources: SettingSources, named: Sequence[str] = (), shard: Shard | None = None
) -> list[EnvironmentConfig]:
    """Return the environments to sync, in order; an error in one leaves the others usable.

    Args:
        sources: options, variables and the configuration file.
        named: environments named by options or the variable; empty for all of the file.
        shard: the share of the file to sync; None for all of it. It may have no environment.

    Raises:
        UsageError: a named environment is not in the file, one token or host was given for several
            environments, or there is no file for a shard to be a part of.
    """
    if shard:
        require_shardable(sources.file, named)
    names = environment_names(sources.file, named)
    # All shards refuse the same, also one that has a single environment.
    refuse_shared(sources, names)
    return [
        EnvironmentConfig(name, _api_settings(sources, name))
        for name in names
        if shard is None or name in shard
    ]


def require_shardable(file: Configuration, named: Sequence[str]) -> None:
    """Check that there are environments for a shard to be a part of.

    Raises:
        UsageError: some are named, the configuration file has none, or there is no such file.
    """
    if named:
        raise UsageError(
            "--shard divides all environments of the configuration file, and --environment names "
            "some",
            hint=f"leave one out ({VARIABLES['shard']} and {VARIABLES['environment']} count too)",
        )
    if not file.environments:
        raise UsageError(
            "--shard divides the environments of a configuration file, and there "
            + (f"are none in {file.path}" if file.path else "is no such file"),
            hint=f"name one that lists them with --config or {VARIABLES['config_file']}",
        )


def environment_names(file: Configuration, named: Sequence[str] = ()) -> list[str]:
    """Return the environments to sync, each once: the named ones, else all of the file.

    Raises:
        UsageError: one has an invalid name, or the file has environments, but not this one.
    """
    names = [settings.environment_name(name) for name in named or file.environments]
    for name in names:
        if file.environments and name not in file.environments:
            raise UsageError(
                f"there is no environment {name!r} in {file.path}",
                hint=suggest(name, file.environments),
            )
    return list(dict.fromkeys(names)) or [settings.DEFAULT_ENVIRONMENT]


def _api_settings(sources: SettingSources, environment: str) -> ApiSettings | UsageError:
    try:
        return settings.api_settings(sources, environment)
    except UsageError as error:
        return error


def refuse_shared(sources: SettingSources, environments: Sequence[str]) -> None:
    """Refuse a token or host for several environments.

    One that is given must not replace one of the file: a forgotten variable would mix the
    environments up, or send all tokens to one host. And one token of an API has one list, which
    belongs to one environment.

    Raises:
        UsageError: there is one.
    """
    if len(environments) == 1:
        return
    for environment, (name, setting) in product(environments, sources.given.items()):
        noun = _ONE_PER_ENVIRONMENT.get(name)
        table = {
            key: value.text
            for key, value in sources.file.table(environment).items()
            if _ONE_PER_ENVIRONMENT.get(key) == noun
        }
        if noun and table and table.get(name) != setting.text:
            raise UsageError(
                f"{setting.source} would give one {noun} to the {len(environments)} environments "
                f"{', '.join(environments)}, though [environments.{environment}] of "
                f"{sources.file.path} names another",
                hint="leave it out, or name one environment with --environment",
            )
    owners: dict[tuple[str, str], str] = {}
    for environment in environments:
        api = _api_settings(sources, environment)
        if isinstance(api, UsageError):
            continue
        key = settings.normalized_base_url(api.base_url), api.token.reveal()
        if (owner := owners.setdefault(key, environment)) != environment:
            raise UsageError(
                f"the environments {owner} and {environment} have the same token for "
                f"{api.base_url}, so they would have the same requests",
                hint="give each environment a token of its own, or leave one of them out",
            )
