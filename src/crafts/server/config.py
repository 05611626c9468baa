"""What ``crafts serve`` takes."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from pydantic import Field

from crafts.core.config import Config
from crafts.core.errors import ConfigError


class ServeConfig(Config):
    """What ``crafts serve`` takes."""

    host: str = Field(
        "127.0.0.1", min_length=1, max_length=255, description="Address to listen on."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    model: str = Field(
        "mini", min_length=1, description="mini, a folder, or a hub id on this disk."
    )
    data: Path = Field(
        Path("studio"), description="Folder of the queue, the results and what is to be judged."
    )
    token_file: Path | None = Field(
        None, description="One token a line; each sees its own jobs only. Needed beyond loopback."
    )
    study: Path | None = Field(
        None, description="Output of `study prepare`, whose readers come to /study/."
    )
    address: str = Field("", description="How others reach the server, for the links of a study.")
    device: str = Field("auto", description="auto, cpu, cuda.")
    max_queue: int = Field(64, ge=1, le=100_000, description="Jobs that wait; more are refused.")
    max_pictures: int = Field(256, ge=1, le=100_000, description="Pictures of one job.")
    max_set: int = Field(20_000, ge=1, description="Pictures of a data set.")
    max_pixels: int = Field(16_000_000, ge=1, description="Of an uploaded image.")
    max_upload: int = Field(32 * 2**20, ge=1, description="Bytes of an uploaded file.")
    max_seconds: float = Field(
        24 * 3600.0, gt=0, description="Deadline of a job that names none, and longest."
    )
    max_disk: int = Field(20 * 2**30, ge=1, description="Bytes of uploads that one token may keep.")


def address_of(config: ServeConfig) -> str:
    """How the server is reached, without a slash at its end."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return config.address.rstrip("/") or f"http://{host}:{config.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open_door(config: ServeConfig) -> None:
    """Refuse to listen beyond loopback without a token.

    Raises:
        ConfigError: says what to do.
    """
    if config.token_file is None and not is_loopback(config.host):
        raise ConfigError(
            "serve: host",
            came=f"{config.host}, which others can reach, and no token file",
            allowed="127.0.0.1, or another address with --token-file",
            do="Write a token of 16 or more characters into a file and give it as --token-file.",
        )
