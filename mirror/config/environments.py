"""What to sync: the environments of the configuration file, or those that were named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mirror.config import settings
from mirror.config.file import suggest
from mirror.config.settings import ApiSettings
from mirror.config.sources import ResolvedSetting, SettingSources
from mirror.errors import UsageError

_MEANS = {"token": {"token_file", "token_env"}, "base_url": {"base_url"}}
_WORDS = {"token": "token", "base_url": "host"}


@dataclass(frozen=True, slots=True)
class EnvironmentConfig:
    """An environment that is to be synced.

    Attributes:
        environment: its label.
        api: how to talk to its API, or why that cannot be said.
    """

    environment: str
    api: ApiSettings | UsageError


def resolve(given: SettingSources, named: Sequence[str] = ()) -> list[EnvironmentConfig]:
    """Return what to sync, in order; what is wrong with one leaves the others as they are.

    Args:
        given: options, variables and the configuration file.
        named: environments that were named by options; else the variable counts, else the file.

    Raises:
        UsageError: an environment was named that the file does not have, or something was given
            that can be true of one environment only, for several.
    """
    labels = environments(given, named)
    if len(labels) > 1:
        _refuse_one_for_all(given, labels)
    return [EnvironmentConfig(label, _api(given, label)) for label in labels]


def environments(given: SettingSources, named: Sequence[str] = ()) -> list[str]:
    """Return the labels of the environments to sync: those named, else all of the file.

    Raises:
        UsageError: one of them cannot be a label, or the file names others, and not this one.
    """
    configured = given.file.environments
    if not named and given.environ.get("MIRROR_ENVIRONMENT"):
        named = [settings.environment_name(None, given.environ)]
    labels = [settings.environment_name(label, given.environ) for label in named or configured]
    for label in labels:
        if configured and label not in configured:
            raise UsageError(
                f"there is no environment {label!r} in {given.file.path}",
                hint=f"{suggest(label, configured)}",
            )
    return list(dict.fromkeys(labels)) or [settings.DEFAULT_ENVIRONMENT]


def _api(given: SettingSources, label: str) -> ApiSettings | UsageError:
    try:
        return settings.api_settings(given, label)
    except UsageError as error:
        return error


def _refuse_one_for_all(given: SettingSources, labels: Sequence[str]) -> None:
    """Refuse a token or a host for several environments, where the file names others for them.

    Otherwise a forgotten variable would mix the environments up, or send the tokens of all to one
    of them.
    """
    many = f"the {len(labels)} environments {', '.join(labels)}"
    for label in labels:
        own = given.file.own(label)
        for name, found in _given_for_all(given, label):
            if not own.keys() & _MEANS[name] or own.get(found.name) == found.text:
                continue
            raise UsageError(
                f"{found.source} would give one {_WORDS[name]} to {many}, though "
                f"[environments.{label}] of {given.file.path} names another",
                hint="leave it out, or name one environment with --environment",
            )


def _given_for_all(given: SettingSources, label: str) -> Iterator[tuple[str, ResolvedSetting]]:
    """Find the token and the host that do not come from the file."""
    with suppress(UsageError):  # there is no token
        if not (token := given.find_token(label)).in_file:
            yield "token", token
    if not (host := given.find("base_url", label)).in_file:
        yield "base_url", host
