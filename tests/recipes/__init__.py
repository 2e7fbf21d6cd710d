"""A well-formed, authorised request for each servlet that workers register.

In here: one module for each part of the API, each of which adds its recipes to RECIPES when it is
imported. Not in here: how the requests are sent, which is in tests.behaviour.
"""

from tests.behaviour import RECIPES, requests
from tests.recipes import accounts, federation, media_and_login, rooms

__all__ = ["RECIPES", "accounts", "federation", "media_and_login", "requests", "rooms"]
