"""Adaptation methods: one file each, a folder where a method has layers of its own."""
