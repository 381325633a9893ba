"""Structural schemas of custom resources: compiled once per version of a definition, asked in time linear in the object.

Source: apiextensions.k8s.io/v1, KEP-1693 (defaulting), KEP-2876 (validation rules), KEP-4008 (ratcheting). Everything here is pure.
"""
