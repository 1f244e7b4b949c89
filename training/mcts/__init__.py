"""Sampled tree search for continuous actions in batched tensors; knows no network, no world."""

from training.mcts.search import Model, Root, SearchConfig, SearchResult, search
from training.mcts.seq_halving import Round, halving_rounds

__all__ = ["Model", "Root", "Round", "SearchConfig", "SearchResult", "halving_rounds", "search"]
