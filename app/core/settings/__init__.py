"""Every knob of the service, typed, and the offline check of a whole configuration file."""

from app.core.settings.application import CacheSettings, FileSettings, Settings
from app.core.settings.model import ModelSettings

__all__ = ["CacheSettings", "FileSettings", "ModelSettings", "Settings"]
