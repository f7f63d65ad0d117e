"""The SMTP wire: paths, commands, replies, lines and bodies, without any I/O.

Everything here is bytes in and values out.  The server side and the upstream side
share it, so that both read the same bytes in the same way.
"""
