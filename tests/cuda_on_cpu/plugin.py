"""Starts the stand-in before pytest collects: pytest -p tests.cuda_on_cpu.plugin -m gpu tests."""

from .driver import start

start()
