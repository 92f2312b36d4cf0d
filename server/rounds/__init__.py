"""Rounds: select, ask, sum, apply, keep; and after the last one, what homes gained."""
