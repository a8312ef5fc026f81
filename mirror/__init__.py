"""A local SQL mirror of Talkover phone-number release requests, with history."""

__version__ = "0.1.0"
