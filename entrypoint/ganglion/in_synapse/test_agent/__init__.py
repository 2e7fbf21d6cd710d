"""The Synapse module behind test controls; loaded in test mode only.

In here: the socket and the commands (`agent`), and the parts of Synapse that they look into or slow
down (`positions`, `delays`). Not in here: anything for production, and the control application that
sends the commands (`control.test`).
"""
