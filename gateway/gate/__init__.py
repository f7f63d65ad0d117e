"""The one place where look-up, facts and rules meet."""

from gateway.gate.gate import Gate, Verdict, judged_with, topic_aside

__all__ = ["Gate", "Verdict", "judged_with", "topic_aside"]
