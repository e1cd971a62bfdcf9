"""From a steel micrograph to numbers a laboratory can sign."""

__version__ = "0.1.0"
