"""The demo: the whole gateway on sample data, and the proof that it did what was expected.

``register.csv`` is a customer register of made-up people and companies, in the form
that ``register import`` takes.  ``expectation.csv`` says, written by hand, what each
of them should meet with each sample mailing; the proof compares it with what came
out of a real gateway.
"""
