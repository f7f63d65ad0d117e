"""E-mail addresses and telephone numbers: one canonical form, one keyed digest.

``parse`` turns a text into a :class:`~gateway.contacts.contact.Contact`, ``digest``
turns a contact into what the register and the logs may carry instead of it.
"""
