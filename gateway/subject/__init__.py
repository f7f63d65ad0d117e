"""The people of the register: who they are, how they are reached, what they asked for."""
