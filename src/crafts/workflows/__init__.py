"""Chains of stages for what people come to do; each calls the stages through ``crafts.api``."""
