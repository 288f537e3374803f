"""Sounds of a video in a folder that can be edited: tracks, takes, regions, and a mix."""
