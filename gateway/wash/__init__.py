"""List washing: a mailing list in, who may be mailed and who may not out."""

from gateway.wash.wash import WashResult, wash_file

__all__ = ["WashResult", "wash_file"]
