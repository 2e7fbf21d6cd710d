"""Import Synapse once, for all tests of this directory.

Twisted and Synapse warn of their own deprecated ways on the way, which are errors in a test.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tests.oracle.generate  # noqa: F401
