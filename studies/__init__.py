"""Simulations that choose a method; each is run as a module and writes a file of results/."""
