"""Configuration: `hookledger.toml`, the environment and files of secrets become one checked `Config` (DESIGN §6)."""

from receiver.config.errors import ConfigError
from receiver.config.root import Config, load_config
from receiver.config.sections import DatabaseConfig, SecretsConfig, ServerConfig
from receiver.config.sources import SourceConfig
from receiver.config.units import Budget

__all__ = [
    "Budget",
    "Config",
    "ConfigError",
    "DatabaseConfig",
    "SecretsConfig",
    "ServerConfig",
    "SourceConfig",
    "load_config",
]
