"""The end of retention (the notice, section 8; GDPR 5(1)(e)): who and what is forgotten when."""
