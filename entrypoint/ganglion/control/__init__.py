"""The control application, behind nginx's CONTROL_PORT.

Today it has the controls for tests and runs in test mode alone, as the supervisor's own account:
it ends and starts processes, and puts one database in another's place. What joins it for
production (readiness, a status page) is to have neither: an account of its own, and none of the
routes of `TEST_ROUTES`.
"""
