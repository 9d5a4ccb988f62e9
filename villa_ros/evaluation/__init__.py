"""Scenarios, pass criteria and ground truth: does it work, and is it better than before?"""
