"""Duties and numbers that one site has at a time: pure rules, without records, clock or disk."""
