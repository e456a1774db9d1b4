"""The app's name."""

from django.apps import AppConfig


class MediaConfig(AppConfig):
    name = "media"
