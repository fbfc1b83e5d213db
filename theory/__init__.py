"""What is claimed and what is known: rules, policy, assumptions, claims, proofs, search, verdicts.

Everything above (simulator, llm_bridge, whynorm) imports this package; it imports none of them, and never torch.
"""
