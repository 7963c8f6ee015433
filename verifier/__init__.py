"""The verifier: network -> specification -> bounds and attacks -> encoding -> solvers -> engines -> cascade -> api.

Imports point down that list only. Nothing here knows of training or of the command line.
"""
