"""Chengxin Gateway (诚信网关): the version; nothing else, so that importing the adapter contract does not start the house."""

__version__ = "0.1.0"
